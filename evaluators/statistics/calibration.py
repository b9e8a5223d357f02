"""What the scores of a judge that errs say of what people would have said.

A judge is a measuring instrument. On answers that people have scored too, a line is fitted,
`judge = offset + slope * human + noise`, and means and gains are read back through it. Where people
say right or wrong and the judge does too, this is the estimate of Rogan & Gladen (1978, American
Journal of Epidemiology 107, 71-76): the offset is 1 - specificity, the slope
sensitivity + specificity - 1.

The intervals are Fieller's (1954): they are wider for not knowing the line exactly, and they are
finite just when the slope is shown to be above 0. It is assumed that the judge errs on the answers
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
"""Every verdict on every kind of answer, once."""
_ADDED = 0.5
"""How much of each is added to the labels."""


@dataclass(frozen=True, slots=True)
class Line:
    """`judge = offset + slope * human`, and how well it is known."""

    offset: float
    slope: float
    offset_variance: float
    slope_variance: float
    covariance: float
    """Of offset and slope."""

    @property
    def slope_interval(self) -> Interval:
        """The slope with its 95% interval."""
        half = _Z * math.sqrt(self.slope_variance)
        return Interval(self.slope, self.slope - half, self.slope + half)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a judge's scores relate to people's, measured on answers that both have scored."""

    fitted: Line
    """The line of least squares: what is reported, and what corrects means."""
    cautious: Line
    """What intervals go by. For labels that are all 0 or 1, half a right and half a wrong verdict
    are added to those on either kind of answer (Jeffreys): of 20 labels without a mistake one can't
    conclude that there are none. Else the same as `fitted`."""

    @classmethod
    def fit(cls, judge: ArrayLike, human: ArrayLike) -> Calibration:
        """The calibration that scores in [0, 1] of the same answers show.

        Args:
            judge: the judge's scores.
            human: people's, of at least two different values; if all are 0 or 1, an interval that
                is corrected by them covers about 95% in simulation; with 20 labels of a poor judge
                some points less.
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
        """Whether the judge is shown to score higher what people score higher."""
        return self.cautious.slope_interval.low > 0

    def mean_interval(self, scores: ArrayLike) -> Interval:
        """The mean that people would give, with its 95% interval, from the judge's scores.

        Raises:
            ValueError: the calibration is not `informative`, or what `mean_interval` refuses.
        """
        plain = mean_interval(scores)
        low, high = _fieller(plain, self.cautious)
        mean = (plain.mean - self.fitted.offset) / self.fitted.slope
        return _within(mean, low, high, 0.0, 1.0)

    def paired_interval(self, a: ArrayLike, b: ArrayLike) -> Interval:
        """The mean of `a - b` by people's scores, with its 95% interval, from the judge's.

        The offset cancels, so that 0 lies in the interval just when it lies in the uncorrected one.

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
    """Weighted least squares, with variances that hold where the noise is not even.

    For right-or-wrong verdicts it is not. The variances are HC3 (MacKinnon & White, 1985), in which
    a label far from the others counts for what the line could not know without it.
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
    """All x for which the judge's mean may be `offset + slope * x`, by what is known of both.

    The ends solve `(mean - offset - slope * x)^2 = half^2 + z^2 * variance(offset + slope * x)`,
    where `half` is how far the judge's own interval reaches to that side.
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
    """Clipped to what is possible; as for uncorrected means, the interval holds the mean."""
    mean, low, high = (min(max(value, least), most) for value in (mean, low, high))
    return Interval(mean, min(low, mean), max(high, mean))
