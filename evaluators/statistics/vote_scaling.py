"""The accuracy of a majority vote by its width, predicted from a few samples per example.

Wider is not always better (Chen et al., 2024, "Are More LM Calls All You Need?", arXiv 2403.02419):
as a vote gets wider, examples that are right more often than not become almost always right, and
the others almost always wrong. If the first happens sooner, accuracy rises and then falls.

The derivation and its limits are in docs/closed-forms.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluators.statistics.difficulty import Difficulty
from evaluators.statistics.intervals import Floats, checked_unit


def vote_accuracy(rates: ArrayLike, width: int) -> Floats:
    """The probability that a majority of `width` independent votes is right.

    A tie counts half, so an even width is exactly as accurate as the odd width below it.

    Args:
        rates: the probability that one vote is right, in [0, 1]; an array of any shape, as is the
            result.
        width: number of votes, at least 1.

    Raises:
        ValueError: a rate outside [0, 1], or a width that is not a whole number from 1 on.
    """
    return _majority(checked_unit("rates", rates), _checked_widths([width])[0])


@dataclass(frozen=True)
class VoteScaling:
    """Predicts the accuracy of a majority vote by its width."""

    difficulty: Difficulty
    """The distribution of the examples' right rates."""
    decisive: float = 1.0
    """The fraction of votes that count, see `fit`."""

    def __post_init__(self) -> None:
        if not 0 < self.decisive <= 1:
            raise ValueError(f"`0 < decisive <= 1` must hold, but got {self.decisive!r}")

    @classmethod
    def fit(cls, right: ArrayLike, samples: ArrayLike, decisive: float = 1.0) -> VoteScaling:
        """Fit to how many samples of each example were right.

        Where there are many different wrong answers, the most frequent answer wins without a
        majority. Then count as `samples` only those that were right or the most frequent wrong
        answer, and pass their fraction of all samples as `decisive`: the others have no influence,
        and a vote of width 10 is treated as one of about `10 * decisive` votes.

        Args:
            right: as for `Difficulty.fit`.
            samples: as for `Difficulty.fit`.
            decisive: mean fraction of samples that were right or the most frequent wrong answer.

        Raises:
            ValueError: counts that `Difficulty.fit` refuses, or not 0 < decisive <= 1.
        """
        return cls(Difficulty.fit(right, samples), decisive)

    def accuracy(self, width: int) -> float:
        """The predicted fraction of examples that a vote of this width gets right, in [0, 1]."""
        return float(self.curve([width])[0])

    def curve(self, widths: Sequence[int]) -> Floats:
        """`accuracy` at each of the widths."""
        from scipy.stats import binom  # scipy.stats is imported late: it takes 1 s

        wanted = _checked_widths(widths)
        counted = np.arange(1, wanted.max() + 1)
        decided = _majority(self.difficulty.rates, counted[:, None]) @ self.difficulty.weights
        chances = binom.pmf(counted, wanted[:, None], self.decisive)
        return np.asarray(np.clip(chances @ decided, 0, 1))

    def best_width(self, widths: Sequence[int], tolerance: float = 0.001) -> int:
        """The smallest width whose predicted accuracy is within `tolerance` of the best.

        Raises:
            ValueError: no width, one that is not a whole number from 1 on, or tolerance < 0.
        """
        if not tolerance >= 0:
            raise ValueError(f"`tolerance >= 0` must hold, but got {tolerance!r}")
        curve = self.curve(widths)
        return min(w for w, a in zip(widths, curve, strict=True) if a >= curve.max() - tolerance)


def _majority(rates: Floats, widths: NDArray[np.int64]) -> Floats:
    """The accuracy of votes; rates and widths are broadcast against each other."""
    from scipy.special import betainc

    needed = (widths + 1) // 2  # 2m votes, with ties half, are as accurate as 2m - 1
    return np.asarray(betainc(needed, needed, rates))


def _checked_widths(widths: Sequence[int]) -> NDArray[np.int64]:
    values = np.asarray(widths)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"widths must be a sequence of at least one, but got {widths!r}")
    if not bool(np.all((values >= 1) & (values == np.floor(values)))):
        raise ValueError(f"a width must be a whole number >= 1, but got {widths!r}")
    return values.astype(np.int64)
