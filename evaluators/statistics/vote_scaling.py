"""How accurate is a majority vote at any width? From a few samples per example.

Wider is not always better (Chen et al., 2024, "Are More LM Calls All You Need?", arXiv 2403.02419):
a vote turns easy examples, right more often than not, into surely right ones, and hard examples
into surely wrong ones. If the easy ones are settled sooner, accuracy rises and then falls.

The derivation, and where this fails, are in docs/closed-forms.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluators.statistics.difficulty import Difficulty, Floats


def vote_accuracy(rates: ArrayLike, width: int) -> Floats:
    """The chance that a majority of `width` independent votes is right, each right with a rate.

    A tie counts half, so that an even width does exactly as well as the odd one below it.

    Args:
        rates: the chance of a right vote in [0, 1]; an array of any shape, which the result has.
        width: how many votes, at least 1.

    Raises:
        ValueError: a rate outside [0, 1], or a width that is not a whole number from 1 on.
    """
    values = np.asarray(rates, dtype=np.float64)
    if not bool(np.all((values >= 0) & (values <= 1))):  # NaN fails this too
        raise ValueError(f"rates must lie in [0, 1], but got {rates!r}")
    accuracy: Floats = _up_to(values.ravel(), int(_checked_widths([width])[0]))[-1]
    return accuracy.reshape(values.shape)


@dataclass(frozen=True)
class VoteScaling:
    """The predicted accuracy of a majority vote by its width."""

    difficulty: Difficulty
    """How the examples' right rates are spread."""
    decisive: float = 1.0
    """The share of votes that count, see `fit`."""

    def __post_init__(self) -> None:
        if not 0 < self.decisive <= 1:
            raise ValueError(f"`0 < decisive <= 1` must hold, but got {self.decisive!r}")

    @classmethod
    def fit(cls, right: ArrayLike, samples: ArrayLike, decisive: float = 1.0) -> VoteScaling:
        """From how many of each example's samples were right.

        Where there are many different wrong answers, the most frequent answer wins and need not
        have a majority. Then pass as `samples` those that were right or the most frequent wrong
        answer, and as `decisive` their share of all samples: the others decide nothing, and a vote
        of width 10 is one of about `10 * decisive`.

        Args:
            right: right samples per example, whole numbers.
            samples: samples per example, at least 1; one number if all have as many.
            decisive: the mean share of samples that were right or the most frequent wrong answer.

        Raises:
            ValueError: counts that `Difficulty.fit` refuses, or not 0 < decisive <= 1.
        """
        return cls(Difficulty.fit(right, samples), decisive)

    def accuracy(self, width: int) -> float:
        """The predicted share of examples that a vote of this width gets right, in [0, 1].

        Raises:
            ValueError: a width that is not a whole number from 1 on.
        """
        return float(self.curve([width])[0])

    def curve(self, widths: Sequence[int]) -> Floats:
        """`accuracy` at each of the widths.

        Raises:
            ValueError: no width, or one that is not a whole number from 1 on.
        """
        wanted = _checked_widths(widths)
        decided = _up_to(self.difficulty.rates, int(wanted.max())) @ self.difficulty.weights
        curve = [_binomial(width, self.decisive)[1:] @ decided[:width] for width in wanted]
        return np.clip(curve, 0, 1)

    def best_width(self, widths: Sequence[int], tolerance: float = 0.001) -> int:
        """The smallest of the widths that is predicted within `tolerance` of the best one.

        Raises:
            ValueError: no width, one that is not a whole number from 1 on, or tolerance < 0.
        """
        if not tolerance >= 0:
            raise ValueError(f"`tolerance >= 0` must hold, but got {tolerance!r}")
        curve = self.curve(widths)
        return min(w for w, a in zip(widths, curve, strict=True) if a >= curve.max() - tolerance)


def _up_to(rates: Floats, width: int) -> Floats:
    """A vote's accuracy at the widths 1, ..., `width` (widths x rates).

    Two votes more matter only if they agree against a majority of one. That gives the regularised
    incomplete beta function as a sum of terms of one sign, exact at any width:
    accuracy(2m + 1) = p + (2p - 1) * sum over j = 1..m of C(2j - 1, j) * (p(1 - p))^j.
    """
    p = rates[None, :]
    j = np.arange(1, (width + 1) // 2)[:, None]
    ratios = np.where(j == 1, 1.0, 2 * (2 * j - 1) / j) * (p * (1 - p))  # of a term to the last
    gains = (2 * p - 1) * np.cumsum(np.cumprod(ratios, axis=0), axis=0)
    odd = np.clip(np.concatenate([p, p + gains]), 0, 1)
    every: Floats = np.repeat(odd, 2, axis=0)[:width]  # 2m votes with ties half are 2m - 1
    return every


def _binomial(n: int, share: float) -> Floats:
    """The chances of 0, ..., n successes; by logarithms, as factorials soon overflow."""
    k = np.arange(n + 1)
    if share == 1:
        all_of_them: Floats = (k == n).astype(np.float64)
        return all_of_them
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    chances: Floats = np.exp(choose + k * np.log(share) + (n - k) * np.log1p(-share))
    return chances


def _checked_widths(widths: Sequence[int]) -> NDArray[np.int64]:
    values = np.asarray(widths)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"widths must be a sequence of at least one, but got {widths!r}")
    if not bool(np.all((values >= 1) & (values == np.floor(values)))):
        raise ValueError(f"a width must be a whole number >= 1, but got {widths!r}")
    return values.astype(np.int64)
