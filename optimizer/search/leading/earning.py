"""Which config may take the lead: the best by posterior means, unless what it replaces is as good.

Posterior means shrink the luck of the best of many. What the user gave, and against anything dearer
the best single model and what leads, keep their place unless the challenger is better with a
probability of at least 80%.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evaluators.racing.posterior import Posterior

SURE = 0.8
"""The probability of being better with which a challenger takes the place of what is protected."""
DIFFERENT = 0.01
"""Candidates are taken to differ if equality of all has a smaller p-value."""
EQUAL = 0.001
"""Posterior means that differ by no more, a tenth of a point, are equal: the cheaper one leads."""


def earns_place(posterior: Posterior, challenger: int, kept: int, rivals: int) -> bool:
    """Whether the challenger is better than what is protected, as far as that must be shown.

    Where the scores do not show that candidates differ at all, the best of them is the luckiest:
    then all of its rivals must have missed such luck (Sidak, 1967).

    Args:
        posterior: of the candidates.
        challenger, kept: which of them.
        rivals: how many have scores.
    """
    if challenger == kept:
        return True
    better = posterior.probability_better(challenger, kept)
    if posterior.all_equal > DIFFERENT:
        better **= max(1, rivals - 1)
    return better >= SURE


def first_to_earn(ranked: Sequence[int], allowed: Callable[[int], bool], otherwise: int) -> int:
    """The most preferred candidate that is allowed to lead; what is there, if none is."""
    return next((candidate for candidate in ranked if allowed(candidate)), otherwise)
