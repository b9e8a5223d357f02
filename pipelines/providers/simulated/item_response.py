"""Item response theory: how likely a model of some ability is to get an item of some difficulty.

    P(right) = sigmoid(SHARPNESS * (ability - difficulty)),   difficulty ~ N(0, 1) over items

This is the two-parameter logistic model (Birnbaum 1968). Users state a skill as the accuracy they
expect over many items; `ability_for` turns it into the ability that has this accuracy.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipelines.providers.simulated.randomness import sigmoid

SHARPNESS = 1.7
"""Logits per unit of ability. Two models' chances on one item then correlate as real ones do."""

_MOST = 12.0
"""Abilities lie in [-12, 12], which covers accuracies from 1e-8 to 1 - 1e-8."""


def chance(ability: float, difficulty: float) -> float:
    """Return the probability of a right answer."""
    return sigmoid(SHARPNESS * (ability - difficulty))


@lru_cache(maxsize=4096)
def ability_for(accuracy: float) -> float:
    """Return the ability whose expected accuracy over items is `accuracy` (in [0, 1])."""
    low, high = -_MOST, _MOST
    for _ in range(50):
        middle = (low + high) / 2
        if expected_accuracy(middle) < accuracy:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def expected_accuracy(ability: float) -> float:
    """Return the mean of `chance` over difficulties, by Gauss-Hermite quadrature."""
    logits = SHARPNESS * (ability - _NODES)
    return float(_WEIGHTS @ (1.0 / (1.0 + np.exp(-logits))))


_NODES, _weights = np.polynomial.hermite_e.hermegauss(61)
_WEIGHTS = _weights / _weights.sum()
