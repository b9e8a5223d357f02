"""Which candidate may lead: the best by posterior means, if it earns its place.

Posterior means shrink the luck of the best of many. What the user gave, and against anything more
expensive the best single model and the incumbent, keep their place unless the challenger is better
with a probability of at least 80%: by the posterior, which also knows what others with the same
settings did, and by the pairs of their own scores alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluators.racing.field import Field
from evaluators.racing.posterior import Floats, Posterior

SURE = 0.8
"""The probability of being better with which a challenger takes the place of what is protected."""
DIFFERENT = 0.02
"""Candidates are taken to differ if the test of their equality has no larger p-value; see
`Posterior.all_equal`."""
EQUAL = 0.001
"""Posterior means that differ by no more, a tenth of a point, are equal: the cheaper one leads."""


class Protected(NamedTuple):
    """A candidate that keeps its place unless a challenger is shown to be better."""

    candidate: int
    against: NDArray[np.bool_]
    """C: the challengers that it is protected against."""


def leader(
    posterior: Posterior, field: Field, ranked: Iterable[int], protected: Sequence[Protected] = ()
) -> int | None:
    """The most preferred candidate that earns its place; None if none of them does.

    Args:
        posterior: of the candidates in the field.
        field: the race.
        ranked: those that may lead, the most preferred first.
        protected: those that must be shown to be worse.
    """
    rivals = int(field.ran.any(axis=1).sum()) - 1
    earning = (
        one
        for one in ranked
        if all(
            earns_place(posterior, field.scores, one, kept.candidate, rivals)
            for kept in protected
            if kept.against[one]
        )
    )
    return next(earning, None)


def earns_place(
    posterior: Posterior, scores: Floats, challenger: int, kept: int, rivals: int
) -> bool:
    """Whether the challenger is shown to be better than a protected candidate.

    Where the scores do not show that candidates differ at all, the best of them is the luckiest:
    then all of its rivals must have missed such luck (Sidak, 1967).

    Args:
        posterior: of the candidates.
        scores: C x N, what the posterior is of.
        challenger, kept: which of them.
        rivals: how many other candidates were run.
    """
    if challenger == kept:
        return True
    better = posterior.probability_better(challenger, kept)
    if posterior.all_equal > DIFFERENT:
        better **= max(1, rivals)
    return min(better, paired_probability(scores[challenger] - scores[kept])) >= SURE


def paired_probability(differences: Floats) -> float:
    """The probability that the mean difference over all such examples is above 0.

    The mean is normal; its standard error is `sqrt(sum(d^2) + max(d^2)) / n`, as if the largest
    difference had been seen once more: where nearly all are 0 the usual one is too small. For wins,
    losses and ties that is within 0.011 of the posterior under a uniform prior for the share of
    wins among wins and losses.

    Args:
        differences: the challenger's scores less the other's; NaN where one has none.
    """
    from scipy.stats import norm  # 0.3 s

    known = differences[~np.isnan(differences)]
    if not known.any():
        return 0.5
    return float(norm.cdf(known.sum() / np.sqrt(np.sum(known**2) + np.max(known**2))))
