"""The accuracy of best-of-K with a verifier, predicted from three rates or from a few samples.

Candidates are drawn one by one, and the first that the verifier accepts is the answer (the
verifier-based judge of Davis et al., 2024, "Networks of Networks", arXiv 2407.16831). If it accepts
none of K, a fallback answers: the first candidate, or a majority vote of all K.

The derivation and its limits are in docs/closed-forms.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from evaluators.statistics.difficulty import Difficulty, checked_counts
from evaluators.statistics.intervals import Floats, checked_unit
from evaluators.statistics.vote_scaling import vote_accuracy

Fallback = Literal["first", "vote"]


def best_of_k(
    rates: ArrayLike,
    accepts_right: float,
    rejects_wrong: float,
    k: int,
    fallback: Fallback = "first",
) -> Floats:
    """The probability that the answer is right.

    Candidates are independent, and verdicts are independent given whether the candidate is right.

    Args:
        rates: the probability that a candidate is right, in [0, 1]; an array of any shape, as is
            the result. The formula is not linear: average its results, not the rates.
        accepts_right: the probability that the verifier accepts a right candidate.
        rejects_wrong: the probability that it rejects a wrong one.
        k: maximum number of candidates, at least 1.
        fallback: the answer if none is accepted: the first candidate, or a vote of all k.

    Raises:
        ValueError: a rate outside [0, 1], a k that is not a whole number from 1 on, or an unknown
            fallback.
    """
    right = checked_unit("rates", rates)
    rejected_right, rejected_wrong = _rejected(right, accepts_right, rejects_wrong)
    rejected = rejected_right + rejected_wrong
    if fallback not in get_args(Fallback):
        raise ValueError(f"fallback must be one of {get_args(Fallback)}, but got {fallback!r}")
    accepted_right = (right - rejected_right) * _rejected_before(rejected, k)
    with np.errstate(invalid="ignore"):
        rate = np.where(rejected > 0, rejected_right / rejected, 0.0)
    fallen_back = rate if fallback == "first" else vote_accuracy(rate, k)
    return np.clip(accepted_right + fallen_back * rejected**k, 0, 1)


def candidates_verified(
    rates: ArrayLike, accepts_right: float, rejects_wrong: float, k: int
) -> Floats:
    """The mean number of candidates drawn and verified until one is accepted, in [1, k].

    Arguments and errors are those of `best_of_k`.
    """
    right = checked_unit("rates", rates)
    rejected_right, rejected_wrong = _rejected(right, accepts_right, rejects_wrong)
    return _rejected_before(rejected_right + rejected_wrong, k)


def verdict_rate(name: str, count: int, of: int) -> float:
    """The rate of a verdict that was given `count` times in `of`.

    It is the posterior mean under Jeffreys' prior, `(count + 0.5) / (of + 1)`, never 0 or 1.

    Raises:
        ValueError: not 0 <= count <= of; the message contains `name`.
    """
    if not 0 <= count <= of:
        raise ValueError(f"`0 <= {name} <= {of}` must hold, but got {count!r}")
    return (count + 0.5) / (of + 1)


@dataclass(frozen=True)
class BestOfK:
    """Predicts the accuracy and cost of best-of-K by K."""

    difficulty: Difficulty
    """The distribution of the examples' right rates."""
    accepts_right: float
    """The probability that the verifier accepts a right candidate."""
    rejects_wrong: float
    """The probability that it rejects a wrong one."""

    def __post_init__(self) -> None:
        checked_unit("accepts_right", self.accepts_right)
        checked_unit("rejects_wrong", self.rejects_wrong)

    @classmethod
    def fit(
        cls, right: ArrayLike, samples: ArrayLike, accepted_right: int, rejected_wrong: int
    ) -> BestOfK:
        """Fit to a few samples of each example and the verifier's verdicts on all of them.

        Args:
            right: as for `Difficulty.fit`.
            samples: as for `Difficulty.fit`.
            accepted_right: number of right samples that the verifier accepted.
            rejected_wrong: number of wrong samples that it rejected.

        Raises:
            ValueError: counts that `Difficulty.fit` refuses, or more verdicts than samples.
        """
        counts = checked_counts(right, samples)
        n_right, n_wrong = int(counts[0].sum()), int((counts[1] - counts[0]).sum())
        return cls(
            Difficulty.fit(right, samples),
            verdict_rate("accepted_right", accepted_right, n_right),
            verdict_rate("rejected_wrong", rejected_wrong, n_wrong),
        )

    def accuracy(self, k: int, fallback: Fallback = "first") -> float:
        """The predicted fraction of examples answered right, in [0, 1]; errors as `best_of_k`."""
        rates = self.difficulty.rates
        chances = best_of_k(rates, self.accepts_right, self.rejects_wrong, k, fallback)
        return min(1.0, self.difficulty.average(chances))

    def candidates_verified(self, k: int) -> float:
        """The mean number of candidates per example, in [1, k]; errors as `best_of_k`."""
        rates = self.difficulty.rates
        return self.difficulty.average(
            candidates_verified(rates, self.accepts_right, self.rejects_wrong, k)
        )


def _rejected(right: Floats, accepts_right: float, rejects_wrong: float) -> tuple[Floats, Floats]:
    """The probabilities that a candidate is right and rejected, and wrong and rejected."""
    accepts = checked_unit("accepts_right", accepts_right)
    rejects = checked_unit("rejects_wrong", rejects_wrong)
    return right * (1 - accepts), (1 - right) * rejects


def _rejected_before(rejected: Floats, k: int) -> Floats:
    """The sum of rejected^i over i = 0..k-1: the expected number of candidates."""
    if not (k >= 1 and k == int(k)):
        raise ValueError(f"k must be a whole number >= 1, but got {k!r}")
    reached: Floats = np.power.outer(rejected, np.arange(k)).sum(axis=-1)
    return reached
