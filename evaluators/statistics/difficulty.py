"""How hard are the examples? The spread of their right rates, from a few samples of each.

The shares right out of six samples spread wider than the rates behind them: an example with rate
0.6 gets 2 of 6 right in one case of seven. Formulas that bend with the rate must be averaged over
the rates, not over those shares, so the sampling noise is taken out first (deconvolution).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RATES: Floats = np.linspace(0.0, 1.0, 101)
"""A fitted spread is told at these rates."""
_SHARES = np.linspace(0.025, 0.975, 39)
"""Shares that the easier of two groups may have."""
_CONCENTRATIONS = tuple(float(c) for c in np.geomspace(0.5, 64, 15))
_OF_TWO_GROUPS = (1.0, 2.0, 4.0, 8.0)
"""a + b of a Beta(a, b): 0.5 is nearly all or nothing, 64 within 0.06 of its mean. Two groups that
are both tighter than 8 are told by two points."""
_ITERATIONS = 300
_PER_PARAMETER = 0.35
"""Simulated with 1,000 examples: Schwarz's 0.5 takes more samples to find three points; 0.25 takes
six samples of a smooth spread for points too often."""
_STEPS = 20
"""Midpoints per rate by which a Beta's mass is summed."""


@dataclass(frozen=True, eq=False)
class Difficulty:
    """How the examples' right rates are spread: the share `weights[i]` of them has `rates[i]`.

    An example's right rate is the chance that one sample of it is right. Weights sum to 1.

    Raises:
        ValueError: rates outside [0, 1], weights that are negative or do not sum to 1, or not as
            many of the one as of the other.
    """

    rates: Floats
    weights: Floats

    def __post_init__(self) -> None:
        rates, weights = (np.array(v, dtype=np.float64) for v in (self.rates, self.weights))
        if rates.ndim != 1 or rates.size == 0 or rates.shape != weights.shape:
            raise ValueError(
                "rates and weights must be sequences of the same length, at least one, "
                f"but got shapes {rates.shape} and {weights.shape}"
            )
        if not bool(np.all((rates >= 0) & (rates <= 1))):  # NaN fails this too
            raise ValueError(f"rates must lie in [0, 1], but got {self.rates!r}")
        if not (bool(np.all(weights >= 0)) and math.isclose(weights.sum(), 1, abs_tol=1e-6)):
            raise ValueError(f"weights must be >= 0 and sum to 1, but got {self.weights!r}")
        for name, values in (("rates", rates), ("weights", weights / weights.sum())):
            values.setflags(write=False)
            object.__setattr__(self, name, values)

    @classmethod
    def fit(cls, right: ArrayLike, samples: ArrayLike) -> Difficulty:
        """Estimate the spread from how many of an example's samples were right.

        Four shapes are tried at even odds: two points, easy and hard, as Chen et al. have them
        (2024, arXiv 2403.02419); one Beta; two Betas of the same concentration; and any spread
        whatever, which must explain the counts much better to be believed. Every member of a shape,
        on a grid, counts by its likelihood, and the result is their average: it hedges where the
        samples leave several spreads possible. Six samples of 1,000 examples take about 0.1 s.

        Args:
            right: right samples per example, whole numbers.
            samples: samples per example, at least 1; one number if all have as many. One sample of
                each tells the mean rate and nothing of the spread.

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
        """The mean right rate: what one sample scores on average."""
        return self.average(self.rates)

    def average(self, values: ArrayLike) -> float:
        """The mean over examples of what has `values[i]` where the rate is `rates[i]`."""
        return float(self.weights @ np.asarray(values, dtype=np.float64))


class _Fit(NamedTuple):
    """How well a shape explains the counts, and the spread that its members have on average."""

    log_evidence: float
    weights: Floats


def checked_counts(right: ArrayLike, samples: ArrayLike) -> NDArray[np.int64]:
    """`right` and `samples` per example as two rows of whole numbers.

    Raises:
        ValueError: as `Difficulty.fit`.
    """
    given, of = np.asarray(right), np.asarray(samples)
    if given.ndim != 1 or given.size == 0:
        raise ValueError(
            f"right must be a sequence of at least one count, but has shape {given.shape}"
        )
    if of.shape not in ((), given.shape):
        raise ValueError(
            "samples must be one number or one per example, "
            f"but got shape {of.shape} for {given.size} examples"
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
    """How likely every pair of counts is at every rate (rates x pairs), up to a factor per pair.

    Never 0, so that every spread has a logarithm, if a hopeless one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = _times_log(right, RATES) + _times_log(samples - right, 1 - RATES)
    likely: Floats = np.maximum(np.exp(logs - logs.max(axis=0)), np.finfo(np.float64).tiny)
    return likely


def _times_log(counts: NDArray[np.int64], rates: Floats) -> Floats:
    """`counts * log(rates)` (rates x counts), where 0 * log(0) is 0."""
    logs: Floats = np.where(counts == 0, 0.0, counts * np.log(rates)[:, None])
    return logs


@cache
def _betas(concentration: float) -> Floats:
    """A row for each mean 0.01, 0.02, ..., 0.99: that Beta's mass around each of the rates."""
    intervals = _STEPS * (RATES.size - 1)
    points = (np.arange(intervals) + 0.5) / intervals
    a = concentration * RATES[1:-1, None]
    density = (a - 1) * np.log(points) + (concentration - a - 1) * np.log1p(-points)
    density = np.exp(density - density.max(axis=1, keepdims=True))
    starts = np.concatenate([[0], np.arange(_STEPS // 2, intervals, _STEPS)])
    mass = np.add.reduceat(density, starts, axis=1)
    rows: Floats = mass / mass.sum(axis=1, keepdims=True)
    rows.setflags(write=False)
    return rows


def _one_group(rows: Floats, chances: Floats, counts: Floats) -> _Fit:
    """All examples from one of the rows."""
    logs = np.log(rows @ chances) @ counts
    relative = np.exp(logs - logs.max())
    evidence = float(logs.max()) + math.log(float(relative.mean()))
    return _Fit(evidence, relative @ rows / relative.sum())


def _two_groups(rows: Floats, chances: Floats, counts: Floats) -> _Fit:
    """A share of the examples from one of the rows, the others from an earlier, harder one."""
    likely = rows @ chances
    hard, easy = np.triu_indices(len(rows), 1)
    logs = np.stack([np.log(s * likely[easy] + (1 - s) * likely[hard]) @ counts for s in _SHARES])
    relative = np.exp(logs - logs.max())
    of_rows = np.bincount(easy, _SHARES @ relative, len(rows))
    of_rows += np.bincount(hard, (1 - _SHARES) @ relative, len(rows))
    evidence = float(logs.max()) + math.log(float(relative.mean()))
    return _Fit(evidence, of_rows @ rows / relative.sum())


def _any_spread(chances: Floats, counts: Floats, samples: int) -> _Fit:
    """The most likely of all spreads (Kiefer & Wolfowitz, 1956), by expectation-maximisation.

    It has no members to average over, so its likelihood is marked down, as Schwarz's criterion does
    (1978), by its parameters: samples tell as many moments, and five points have nine.
    """
    weights = np.full(RATES.size, 1 / RATES.size)
    for _ in range(_ITERATIONS):
        weights = weights * (chances @ (counts / (weights @ chances))) / counts.sum()
    markdown = _PER_PARAMETER * min(samples, 9) * math.log(counts.sum())
    return _Fit(float(np.log(weights @ chances) @ counts) - markdown, weights)


def _averaged(fits: Sequence[tuple[float, _Fit]]) -> Floats:
    """The spreads' mean, each by its relative odds beforehand times its evidence."""
    logs = np.array([math.log(odds) + fit.log_evidence for odds, fit in fits])
    posterior = np.exp(logs - logs.max())
    spread: Floats = posterior @ np.array([fit.weights for _, fit in fits]) / posterior.sum()
    return spread
