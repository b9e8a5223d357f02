"""The distribution of examples' success rates, estimated from a few samples of each.

The fractions right out of six samples vary more than the rates behind them: an example with rate
0.6 gets 2 of 6 right in one case of seven. Formulas that are not linear in the rate must be
averaged over the rates, not over those fractions, so the sampling noise is removed first
(deconvolution).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluators.statistics.intervals import Floats, checked_unit

RATES: Floats = np.linspace(0.0, 1.0, 101)
"""The rates at which a fitted distribution has its weights."""
_SHARES = np.linspace(0.025, 0.975, 39)
"""Grid for the fraction of examples in the easier of two groups."""
_CONCENTRATIONS = tuple(float(c) for c in np.geomspace(0.5, 64, 15))
_OF_TWO_GROUPS = (1.0, 2.0, 4.0, 8.0)
"""Grids for a + b of a Beta(a, b): with 0.5 nearly all rates are close to 0 or 1, with 64 the
standard deviation is 0.06. Two groups tighter than 8 are represented by two points."""
_ITERATIONS = 300
_PER_PARAMETER = 0.35
"""Penalty per parameter, times the logarithm of the number of examples. Chosen by simulation with
1,000 examples: Schwarz's 0.5 needs more samples to find three points; 0.25 too often takes a smooth
distribution for points."""


@dataclass(frozen=True, eq=False)
class Difficulty:
    """The distribution of right rates over examples: a fraction `weights[i]` has `rates[i]`.

    An example's right rate is the probability that one sample of it is right. Weights sum to 1.

    Raises:
        ValueError: rates outside [0, 1], weights that are negative or do not sum to 1, or not as
            many of the one as of the other.
    """

    rates: Floats
    weights: Floats

    def __post_init__(self) -> None:
        rates, weights = np.array(checked_unit("rates", self.rates)), np.array(self.weights, float)
        if rates.ndim != 1 or rates.size == 0 or rates.shape != weights.shape:
            raise ValueError(
                "rates and weights must be sequences of the same length, at least one, "
                f"but got shapes {rates.shape} and {weights.shape}"
            )
        if not (bool(np.all(weights >= 0)) and math.isclose(weights.sum(), 1, abs_tol=1e-6)):
            raise ValueError(f"weights must be >= 0 and sum to 1, but got {self.weights!r}")
        for name, values in (("rates", rates), ("weights", weights / weights.sum())):
            values.setflags(write=False)
            object.__setattr__(self, name, values)

    @classmethod
    def fit(cls, right: ArrayLike, samples: ArrayLike) -> Difficulty:
        """Estimate the distribution from how many samples of each example were right.

        The result averages four families of distributions with equal prior weight: two points, easy
        and hard, as in Chen et al. (2024, arXiv 2403.02419); one Beta; two Betas of the same
        concentration; and an unrestricted distribution, whose likelihood is penalized. Within a
        family, distributions on a grid are weighted by their likelihood, so where the samples
        cannot distinguish several distributions the result is a compromise between them.

        Args:
            right: right samples per example, whole numbers.
            samples: samples per example, at least 1; one number if it is the same for all. With one
                sample of each, only the mean rate can be estimated.

        Raises:
            ValueError: no example, counts that are not whole, or not 0 <= right <= samples.
        """
        pairs, examples = np.unique(checked_counts(right, samples), axis=1, return_counts=True)
        chances, counts = _chances(pairs[0], pairs[1]), examples.astype(np.float64)
        one = np.concatenate([_betas(c) for c in _CONCENTRATIONS])
        fits = [
            (1.0, _two_groups(np.eye(RATES.size), chances, counts)),
            (1.0, _one_group(one, chances, counts)),
            (1.0, _any_spread(chances, counts, int(pairs[1].max()))),
        ]
        for concentration in _OF_TWO_GROUPS:
            fitted = _two_groups(_betas(concentration)[1::2], chances, counts)
            fits.append((1 / len(_OF_TWO_GROUPS), fitted))
        return cls(RATES, _averaged(fits))

    @property
    def mean(self) -> float:
        """The mean right rate: the expected score of one sample."""
        return self.average(self.rates)

    def average(self, values: ArrayLike) -> float:
        """The mean over examples of a quantity that is `values[i]` where the rate is `rates[i]`."""
        return float(self.weights @ np.asarray(values, dtype=np.float64))


class _Fit(NamedTuple):
    """The evidence for a family of distributions, and its posterior mean distribution."""

    log_evidence: float
    weights: Floats


def checked_counts(right: ArrayLike, samples: ArrayLike) -> NDArray[np.int64]:
    """Right samples and samples per example, as two rows; errors as `Difficulty.fit`."""
    given, of = np.asarray(right), np.asarray(samples)
    if given.ndim != 1 or given.size == 0:
        raise ValueError(
            f"right must be a sequence of at least one count, but has shape {given.shape}"
        )
    if of.shape not in ((), given.shape):
        raise ValueError(
            f"samples must be one number or one per example, but got shape {of.shape} for "
            f"{given.size} examples"
        )
    both = np.stack([given, np.broadcast_to(of, given.shape)]).astype(np.float64)
    if not bool(np.all(both == np.floor(both))):
        raise ValueError(f"right and samples must be whole numbers, but got {right!r}, {samples!r}")
    wrong = np.flatnonzero((both[1] < 1) | (both[0] < 0) | (both[0] > both[1]))
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(
            "`0 <= right <= samples` and `samples >= 1` must hold, but example "
            f"{first} has right={both[0, first]:g}, samples={both[1, first]:g}"
        )
    return both.astype(np.int64)


def _chances(right: NDArray[np.int64], samples: NDArray[np.int64]) -> Floats:
    """The likelihood of each rate for each pair of counts (rates x pairs), scaled per pair.

    Never exactly 0, so that every distribution has a finite log-likelihood.
    """
    from scipy.special import xlog1py, xlogy  # scipy is imported late: it takes 0.3 s

    logs = xlogy(right, RATES[:, None]) + xlog1py(samples - right, -RATES[:, None])
    likely: Floats = np.maximum(np.exp(logs - logs.max(axis=0)), np.finfo(np.float64).tiny)
    return likely


@cache
def _betas(concentration: float) -> Floats:
    """The mass near each rate of the Betas with means 0.01, 0.02, ..., 0.99 (a row each)."""
    from scipy.special import betainc

    a = concentration * RATES[1:-1, None]
    midpoints = (RATES[:-1] + RATES[1:]) / 2
    below = betainc(a, concentration - a, np.concatenate([[0.0], midpoints, [1.0]]))
    return np.diff(below, axis=1)


def _one_group(rows: Floats, chances: Floats, counts: Floats) -> _Fit:
    """All examples come from one of the rows."""
    logs = np.log(rows @ chances) @ counts
    relative = np.exp(logs - logs.max())
    return _Fit(_log_mean(logs), relative @ rows / relative.sum())


def _two_groups(rows: Floats, chances: Floats, counts: Floats) -> _Fit:
    """A fraction of the examples comes from one row, the rest from an earlier, harder one."""
    likely = rows @ chances
    hard, easy = np.triu_indices(len(rows), 1)
    logs = np.stack([np.log(s * likely[easy] + (1 - s) * likely[hard]) @ counts for s in _SHARES])
    relative = np.exp(logs - logs.max())
    of_rows = np.bincount(easy, _SHARES @ relative, len(rows))
    of_rows += np.bincount(hard, (1 - _SHARES) @ relative, len(rows))
    return _Fit(_log_mean(logs), of_rows @ rows / relative.sum())


def _log_mean(logs: Floats) -> float:
    """The logarithm of the mean of the exponentials."""
    from scipy.special import logsumexp

    return float(logsumexp(logs)) - math.log(logs.size)


def _any_spread(chances: Floats, counts: Floats, samples: int) -> _Fit:
    """The maximum likelihood distribution (Kiefer & Wolfowitz, 1956), by expectation-maximization.

    There is nothing to average over, so its likelihood is penalized by the number of parameters, as
    in Schwarz's criterion (1978): at most one per sample, since k samples determine k moments, and
    at most nine, those of five points.
    """
    weights = np.full(RATES.size, 1 / RATES.size)
    for _ in range(_ITERATIONS):
        weights = weights * (chances @ (counts / (weights @ chances))) / counts.sum()
    penalty = _PER_PARAMETER * min(samples, 9) * math.log(counts.sum())
    return _Fit(float(np.log(weights @ chances) @ counts) - penalty, weights)


def _averaged(fits: Sequence[tuple[float, _Fit]]) -> Floats:
    """The mean of the fitted distributions, weighted by prior odds times evidence."""
    from scipy.special import softmax

    posterior = softmax([math.log(odds) + fit.log_evidence for odds, fit in fits])
    return np.asarray(posterior @ np.array([fit.weights for _, fit in fits]))
