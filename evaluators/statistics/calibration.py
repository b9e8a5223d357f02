"""Corrects means and gains for the errors of a judge, by answers that people have scored too.

A line `judge = offset + slope * human + noise` is fitted to those answers and then inverted. Where
judge and people both give 0 or 1, this is the estimator of Rogan & Gladen (1978, American Journal
of Epidemiology 107, 71-76): the offset is 1 - specificity, the slope sensitivity + specificity - 1.

The intervals follow Fieller (1954): they include the uncertainty of the line, and are finite
exactly where the 95% interval of the slope lies above 0. The judge is assumed to err on the answers
that people scored as it does on all others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluators.statistics.intervals import Interval, mean_interval, paired_interval

_Z = NormalDist().inv_cdf(0.975)

_JUDGED, _HUMAN = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
"""Each verdict on each kind of answer, once."""
_ADDED = 0.5
"""The weight with which these are added to the labels."""


@dataclass(frozen=True, slots=True)
class Line:
    """`judge = offset + slope * human`, with the uncertainty of both coefficients."""

    offset: float
    slope: float
    offset_variance: float
    slope_variance: float
    covariance: float
    """Of offset and slope."""

    @property
    def slope_interval(self) -> Interval:
        """The slope with its 95% interval (normal)."""
        half = _Z * math.sqrt(self.slope_variance)
        return Interval(self.slope, self.slope - half, self.slope + half)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a judge's scores relate to people's, measured on answers that both have scored."""

    fitted: Line
    """The least squares line, which is reported and corrects means."""
    cautious: Line
    """The line used for intervals. For labels that are all 0 or 1, it counts half a right and half
    a wrong verdict more on either kind of answer (as Jeffreys' prior does), since 20 labels without
    a mistake do not show that the judge makes none. For graded labels it equals `fitted`."""

    @classmethod
    def fit(cls, judge: ArrayLike, human: ArrayLike) -> Calibration:
        """Fit the line to scores of the same answers, all in [0, 1].

        People's scores are in the same order, and of at least two different values.

        In simulation with labels of 0 and 1, corrected 95% intervals of means and gains covered the
        truth in 92% of cases or more, with 20 to 200 labels, judges that are right on 60% to 100%
        of either kind of answer, and 36 to 1,000 examples. The exception is the mean where 20
        labels measured a judge that is right on 70% of both kinds: 89%.
        """
        judged, people = np.asarray(judge, dtype=float), np.asarray(human, dtype=float)
        fitted = _line(judged, people, np.ones(people.size))
        if not bool(np.all((people == 0) | (people == 1))):
            return cls(fitted, fitted)
        weights = np.append(np.ones(people.size), np.full(_HUMAN.size, _ADDED))
        judged, people = np.append(judged, _JUDGED), np.append(people, _HUMAN)
        return cls(fitted, _line(judged, people, weights))

    @property
    def informative(self) -> bool:
        """Whether the 95% interval of the slope lies above 0."""
        return self.cautious.slope_interval.low > 0

    def mean_interval(self, scores: ArrayLike) -> Interval:
        """The mean score that people would give, with its 95% interval, from the judge's scores.

        Raises:
            ValueError: the calibration is not `informative`, or what `mean_interval` refuses.
        """
        plain = mean_interval(scores)
        low, high = _fieller(plain, self.cautious)
        mean = (plain.mean - self.fitted.offset) / self.fitted.slope
        return _within(mean, low, high, 0.0, 1.0)

    def paired_interval(self, a: ArrayLike, b: ArrayLike) -> Interval:
        """The mean of `a - b` on people's scale, with its 95% interval, from the judge's scores.

        The offset cancels: the interval contains 0 exactly when the uncorrected one does.

        Raises:
            ValueError: the calibration is not `informative`, or what `paired_interval` refuses.
        """
        plain = paired_interval(a, b)
        line = replace(self.cautious, offset=0.0, offset_variance=0.0, covariance=0.0)
        low, high = _fieller(plain, line)
        return _within(plain.mean / self.fitted.slope, low, high, -1.0, 1.0)


def _line(
    judge: NDArray[np.float64], human: NDArray[np.float64], weights: NDArray[np.float64]
) -> Line:
    """Weighted least squares with HC3 variances (MacKinnon & White, 1985).

    They hold where the variance of the noise is not constant, as with verdicts of 0 and 1.
    """
    design = np.column_stack([np.ones(human.size), human])
    inverse = np.linalg.inv(design.T @ (design * weights[:, None]))
    offset, slope = inverse @ design.T @ (weights * judge)
    leverage = weights * np.sum((design @ inverse) * design, axis=1)
    residuals = (judge - design @ np.array([offset, slope])) / np.maximum(1 - leverage, 1e-9)
    spread = (design * (weights * residuals**2)[:, None]).T @ design
    (offset_variance, covariance), (_, slope_variance) = inverse @ spread @ inverse
    return Line(*map(float, (offset, slope, offset_variance, slope_variance, covariance)))


def _fieller(plain: Interval, line: Line) -> tuple[float, float]:
    """The interval of x for which the judge's mean is compatible with `offset + slope * x`.

    Its ends solve `(mean - offset - slope * x)^2 = half^2 + z^2 * variance(offset + slope * x)`,
    where `half` is the distance from the judge's mean to the end of its own interval on that side.
    """
    if not line.slope_interval.low > 0:
        raise ValueError(f"the slope must be shown to be above 0, but it is {line.slope_interval}")
    above = plain.mean - line.offset
    square = line.slope**2 - _Z**2 * line.slope_variance
    linear = line.slope * above + _Z**2 * line.covariance
    ends = []
    for side, half in ((-1, plain.mean - plain.low), (1, plain.high - plain.mean)):
        constant = above**2 - half**2 - _Z**2 * line.offset_variance
        root = math.sqrt(max(0.0, linear**2 - square * constant))
        ends.append((linear + side * root) / square)
    return ends[0], ends[1]


def _within(mean: float, low: float, high: float, least: float, most: float) -> Interval:
    """The interval clipped to the possible range; it contains its mean, as uncorrected ones do."""
    mean, low, high = (min(max(value, least), most) for value in (mean, low, high))
    return Interval(mean, min(low, mean), max(high, mean))
