"""Which candidate an objective prefers, by posterior means and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluators.objective import Costs, Objective, front
from evaluators.racing.posterior import Floats
from optimizer.search.leading.earning import EQUAL

PRICE_WORTH = 0.05
"""Where the cheapest is sought: the score that saving all of the best one's price is worth. The
best sets the bar, so its score counts, however expensive it is."""
SAVING = 0.01
"""Prices that differ by no more than this share are equal: the lengths of replies vary."""
PRICE_WEIGHTS = (0.0, 0.02, 0.1, 0.5)
"""On a front: the scores that someone may give up to save the mean price."""


@dataclass(frozen=True)
class Preference:
    """An objective applied to C candidates."""

    objective: Objective
    costs: Sequence[Costs]
    """C, as far as they are known; the scores are not used."""
    singles: NDArray[np.bool_]
    """C: which have one model in all modules."""
    changes: NDArray[np.int64]
    """C: in how many knobs each differs from what was given; of equals, the fewest win."""

    @cached_property
    def usd(self) -> Floats:
        """C: dollars per example."""
        return np.array([cost.usd for cost in self.costs])

    @cached_property
    def excess(self) -> Floats:
        """C: by what factor each exceeds the limits; 1 or less where it meets them."""
        return np.array([self.objective.excess(cost) for cost in self.costs])

    def value(self, means: Floats) -> Floats:
        """The value of the choice by posterior means (C x D) in each of D futures."""
        price = self.usd / max(float(self.usd.mean()), 1e-12)
        fit = means - 10 * np.maximum(0.0, self.excess - 1)[:, None]
        if self.objective.pareto:
            weighed = [(fit - weight * price[:, None]).max(axis=0) for weight in PRICE_WEIGHTS]
            together: Floats = np.mean(weighed, axis=0)
            return together
        if self.objective.within is None:
            best: Floats = fit.max(axis=0)
            return best
        near = np.where(fit >= self._bar(fit) - 1e-12, price[:, None], np.inf).min(axis=0)
        share = near / np.maximum(price[fit.argmax(axis=0)], 1e-12)
        cheapest: Floats = fit.max(axis=0) - PRICE_WORTH * share
        return cheapest

    def ranked(self, means: Floats) -> list[int]:
        """Candidates by preference.

        Those that meet the limits come first, and then the best, equal ones by price; or the
        cheapest near enough to the best, where that is sought. The farthest from the limits come
        last.
        """
        over = np.maximum(1.0, self.excess)
        met = over <= 1
        within = met if met.any() else np.ones(len(means), dtype=bool)
        best = means[within].max()
        bar = best - EQUAL
        if self.objective.within is not None:
            bar = float(self._bar(means[:, None])[0])
        equal = within & (means >= bar - 1e-12)
        usd = self.usd
        if equal.any():  # what costs nearly as little as the cheapest is no saving
            cheapest = usd[equal].min()
            usd = np.where(usd <= cheapest * (1 + SAVING), cheapest, usd)
        price = np.where(equal, usd, np.inf)
        alike = np.where(equal, self.changes, 0)
        order = np.lexsort((-means.round(9), alike, price, ~equal, over))
        return [int(candidate) for candidate in order]

    def wanted(self, means: Floats) -> list[int]:
        """The candidates that should be run on all examples, the most wanted first."""
        if not self.objective.pareto:
            return self.ranked(means)
        guessed = [
            cost._replace(score=float(mean)) for cost, mean in zip(self.costs, means, strict=True)
        ]
        return sorted(front(guessed), key=lambda candidate: -means[candidate])

    def _bar(self, means: Floats) -> Floats:
        """The score to reach, in each of D futures, where the cheapest near enough is sought."""
        relative = self.objective.of == "single_model" and self.singles.any()
        best = means[self.singles].max(axis=0) if relative else means.max(axis=0)
        bar: Floats = best - (self.objective.within or 0.0)
        return bar
