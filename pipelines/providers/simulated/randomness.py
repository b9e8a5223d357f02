"""Hash-based random numbers: the same key gives the same number in every process, for ever.

Python's own `hash` is salted per process and a shared generator depends on the order of calls, so
every draw here is a pure function of its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import exp
from statistics import NormalDist
from typing import TypeVar

T = TypeVar("T")

_STANDARD_NORMAL = NormalDist()


def digest(*key: object) -> bytes:
    """Return 16 bytes that depend on every part of `key` and on where its parts are divided."""
    return blake2b(repr(key).encode(), digest_size=16).digest()


def uniform(*key: object) -> float:
    """Return a number in the open interval (0, 1)."""
    return ((int.from_bytes(digest(*key)[:8], "big") >> 12) + 0.5) / 2**52


def normal(*key: object) -> float:
    """Return a draw from the standard normal distribution."""
    return _STANDARD_NORMAL.inv_cdf(uniform(*key))


def normal_cdf(z: float) -> float:
    """Return the chance that a standard normal draw is below `z`."""
    return _STANDARD_NORMAL.cdf(z)


def pick(options: Sequence[T], *key: object) -> T:
    """Return one of `options`, each as likely as any other."""
    return options[int(uniform(*key) * len(options))]


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x) without overflow."""
    return 1.0 / (1.0 + exp(-x)) if x >= 0 else exp(x) / (1.0 + exp(x))
