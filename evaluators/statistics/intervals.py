"""Confidence intervals for means of scores in [0, 1] and of paired differences between them.

One formula serves right-or-wrong scores and graded ones: Wilson's score interval with the variance
scaled to the scores' own, as quasi-likelihood does for fractions (Wilson, 1927; Papke & Wooldridge,
1996). For right-or-wrong scores it *is* Wilson's interval. It never leaves [0, 1] and never shrinks
to nothing, unlike mean +- 1.96 standard errors, which covers 78% rather than 95% for 30 scores
that are right 95% of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimated mean, and the range in which its true value lies with some confidence."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:z.3f} [{self.low:z.3f}, {self.high:z.3f}]"


def mean_interval(scores: ArrayLike, confidence: float = 0.95) -> Interval:
    """The mean of independent scores in [0, 1], with its confidence interval.

    Exactly Wilson's interval for scores that are all 0 or 1. Graded scores vary less than those
    (their variance is `ratio` times `mean * (1 - mean)`), and the interval narrows accordingly,
    though never so far that rare outliers yet unseen would fall out of it. Simulated coverage at
    95% is 94% or more in every setting tried, from 10 scores on.

    Raises:
        ValueError: no scores, one outside [0, 1], or a confidence outside (0, 1).
    """
    values = _checked(scores, "scores")
    return _interval(values, confidence)


def paired_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """The mean of `a - b` over the same examples, with its confidence interval.

    `a` and `b` are scores in [0, 1], the same example at the same place. The differences, moved
    from [-1, 1] to [0, 1], get the interval of `mean_interval`; where they nearly all tie it keeps
    the width that the rule of three asks for. In simulation it covered 94% or more from 30 examples
    on in every setting tried; Newcombe's for paired proportions (1998, method 10), at about the
    same width, fell to 89% where one side wins rarely and never loses.

    Raises:
        ValueError: sides of different lengths, or what `mean_interval` refuses.
    """
    left, right = _checked(a, "a"), _checked(b, "b")
    if left.size != right.size:
        raise ValueError(
            f"paired scores must be equally many, but got {left.size} and {right.size}"
        )
    shifted = _interval((left - right + 1) / 2, confidence)
    return Interval(float(np.mean(left - right)), 2 * shifted.low - 1, 2 * shifted.high - 1)


def _interval(values: NDArray[np.float64], confidence: float) -> Interval:
    if not 0 < confidence < 1:
        raise ValueError(f"`0 < confidence < 1` must hold, but got {confidence!r}")
    n, mean = values.size, float(values.mean())
    largest = mean * (1 - mean)  # the variance if all were 0 or 1
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    ratio = _variance_ratio(float(values.var()), mean, n, (math.log(1 - confidence) / z) ** 2)
    zz = z * z * ratio
    centre = (mean + zz / (2 * n)) / (1 + zz / n)
    half = math.sqrt(zz * (largest / n + zz / (4 * n * n))) / (1 + zz / n)
    return Interval(mean, min(max(0.0, centre - half), mean), max(min(1.0, centre + half), mean))


def _variance_ratio(variance: float, mean: float, n: int, prior: float) -> float:
    """The variance relative to that of 0/1 scores with the same mean, shrunk towards 1.

    Scores that happen to agree say little of outliers yet unseen: at 95%, a share of ln(20) / n of
    them may be missing (the rule of three), and move the mean by that times the way to the farther
    bound. The weight of the prior is what makes the interval of n equal scores reach that far.
    """
    near, far = sorted((mean, 1 - mean))
    largest = near * far
    observed = min(variance / largest, 1.0) if largest > 0 else 1.0
    return (n * near * observed + prior * far) / (n * near + prior * far)


def _checked(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} must be a sequence of at least one score, but got {scores!r}")
    if not bool(np.all((values >= 0.0) & (values <= 1.0))):  # NaN fails this too
        raise ValueError(f"{name} must lie in [0, 1], but got {scores!r}")
    return values
