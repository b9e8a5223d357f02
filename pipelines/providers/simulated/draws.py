"""Draws that depend on their key alone, and how likely a model is right.

Python's own `hash` is salted per process and a shared generator depends on the order of calls, so
every draw is a hash of its key. A chance follows item response theory (Birnbaum 1968):

    P(right) = sigmoid(1.7 * (ability - difficulty)),   difficulty ~ N(0, 1) over items
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import exp
from statistics import NormalDist
from typing import TypeVar

import numpy as np

T = TypeVar("T")

SHARPNESS = 1.7
"""Logits per unit of ability. Two models' chances on one item then correlate as real ones do."""
STANDARD_NORMAL = NormalDist()
_NODES, _weights = np.polynomial.hermite_e.hermegauss(61)
_WEIGHTS = _weights / _weights.sum()


def digest(*key: object) -> bytes:
    """16 bytes that depend on every part of `key` and on where its parts are divided."""
    return blake2b(repr(key).encode(), digest_size=16).digest()


def uniform(*key: object) -> float:
    """A number in the open interval (0, 1)."""
    return ((int.from_bytes(digest(*key)[:8], "big") >> 12) + 0.5) / 2**52


def normal(*key: object) -> float:
    """A draw from the standard normal distribution."""
    return STANDARD_NORMAL.inv_cdf(uniform(*key))


def pick(options: Sequence[T], *key: object) -> T:
    """One of `options`, each as likely as any other."""
    return options[int(uniform(*key) * len(options))]


@lru_cache(maxsize=65536)
def difficulty_of(skill: str, item: str) -> float:
    """How hard an item is for all models, on the scale of abilities."""
    return normal("difficulty", skill, item)


def chance(ability: float, difficulty: float) -> float:
    """The probability of a right answer, without overflow."""
    x = SHARPNESS * (ability - difficulty)
    return 1.0 / (1.0 + exp(-x)) if x >= 0 else exp(x) / (1.0 + exp(x))


@lru_cache(maxsize=4096)
def ability_for(accuracy: float) -> float:
    """The ability in [-12, 12] whose expected accuracy over items is `accuracy`."""
    low, high = -12.0, 12.0
    for _ in range(50):
        middle = (low + high) / 2
        logits = SHARPNESS * (middle - _NODES)  # Gauss-Hermite quadrature over difficulties
        if float(_WEIGHTS @ (1.0 / (1.0 + np.exp(-logits)))) < accuracy:
            low = middle
        else:
            high = middle
    return (low + high) / 2
