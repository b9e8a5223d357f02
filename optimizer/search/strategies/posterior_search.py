"""The default strategy: run the candidates from which the posterior expects to gain most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.racing.field import Run
from evaluators.racing.knowledge_gradient import Plan, Value, best_mean, plan
from evaluators.racing.posterior import Floats
from optimizer.search.leading.earning import Protected, leader
from optimizer.search.strategies.arena import Arena, swapped

FEWEST_CALLS, MORE_CALLS, CALLS_PER_EXAMPLE = 48, 0.06, 0.25
"""The size of a batch is the largest of: this many calls, this share of all calls so far, and this
many calls per example."""
WORTH = 0.0003
"""The price of running one candidate on all examples, in units of value, unless the arena says how
many calls to plan for."""
SMALLEST_GAIN, SMALLEST_GAIN_IN_EXAMPLES = 0.005, 0.25
"""The least that planned calls must then gain, whatever they cost: this value or, if it is less, so
many more examples that are right."""
RATED = 4
"""On how many examples the choices of a module are rated."""
PROPOSED = 16
"""How many combinations are drawn at a time, where there are too many to list."""
RESERVED_FOR = 2
"""How many candidates there must be calls left to run on all examples."""
MOST_FINISHED = 3
"""How many more candidates than are sought may be run on all examples at the end."""


def best_first(means: Floats) -> list[int]:
    """Candidates by their means."""
    return [int(candidate) for candidate in np.argsort(-means.round(9), kind="stable")]


@dataclass(frozen=True)
class PosteriorSearch:
    """Batches by knowledge gradient, under a probit mixed model of the scores."""

    name: str = "default"
    value: Value = best_mean
    """The value that the final choice maximises."""
    wanted: Callable[[Floats], Iterable[int]] = best_first
    """Takes posterior means, and returns the candidates that should be run on all examples, the
    most wanted first."""
    finish: int = 1
    """How many of these are sought."""
    swaps: int = 0
    """On how many examples each change of a single module is run before any other."""

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        """Explore while calls are expected to pay, then run the leader on all examples."""
        if arena.start is not None:
            yield arena.field.missing([arena.places[arena.start]], math.inf)
        if arena.rate is not None and arena.ratings is None:
            _rate_modules(arena)
        if self.swaps and (runs := self._one_module_each(arena)):
            yield runs
        most_finished = self.finish + MOST_FINISHED
        while True:
            if runs := self._next_runs(arena):
                yield runs
            elif most_finished and (runs := self._to_finish(arena)):
                most_finished -= 1
                yield runs
            else:
                break

    def pick(self, arena: Arena) -> int:
        """The best posterior mean, if it may replace the candidate in place."""
        ranked = np.argsort(-arena.posterior.mean, kind="stable")
        if arena.start is None:
            whole = arena.field.complete[ranked] if arena.planned is None else ranked >= 0
            return int(ranked[whole][0] if whole.any() else ranked[0])
        given = arena.places[arena.start]
        complete = [int(candidate) for candidate in ranked if arena.field.complete[candidate]]
        protected = Protected(given, np.ones(len(ranked), dtype=bool))
        found = leader(arena.posterior, arena.field, complete, [protected])
        return given if found is None else found

    def _one_module_each(self, arena: Arena) -> Sequence[Run]:
        """The missing runs of all changes of one module; empty where they can't be paid."""
        changed = [
            swapped(arena.origin, module, level)
            for module, count in enumerate(arena.choices)
            for level in range(count)
        ]
        arena.add(changed)  # all at once: each time makes a new field
        missing = arena.field.missing((arena.places[levels] for levels in changed), math.inf)
        runs = [run for run in missing if run[1] < self.swaps]
        entering = [run for run in runs if arena.field.entrants[run[0]]]
        affordable = arena.field.calls(entering) <= arena.left - self._reserved(arena)
        return entering if affordable else []

    def _next_runs(self, arena: Arena) -> Sequence[Run]:
        """The next batch; empty where no calls are expected to pay, or none are left for them."""
        if not arena.is_listed:
            self._propose(arena)
        if free := arena.field.free(arena.field.unfinished):
            return free
        made = int(arena.field.made.sum())
        batch = max(FEWEST_CALLS, MORE_CALLS * made, CALLS_PER_EXAMPLE * arena.examples)
        affordable = arena.left - self._reserved(arena)
        if arena.planned is not None:
            calls = min(affordable, arena.planned - made)
            if calls <= 0:
                return []
            planned = plan(arena.posterior, arena.field, calls, arena.rng, self.value)
        else:
            calls, planned = self._worthwhile(arena, batch)
            if calls <= 0:
                return []
            if calls > affordable > 0:  # what is left serves fewer candidates
                planned = plan(arena.posterior, arena.field, affordable, arena.rng, self.value)
        runs = arena.field.missing(planned.candidates, min(batch, calls, affordable))
        arena.cut_short |= not runs and affordable < calls
        return runs

    def _worthwhile(self, arena: Arena, batch: float) -> tuple[float, Plan]:
        """How many calls to plan for, and the plan, so that the gain exceeds their worth by the
        most; no calls where no gain exceeds it."""
        worth = WORTH / (float(arena.field.uses.sum(axis=1).mean()) * arena.examples)
        smallest = min(SMALLEST_GAIN, SMALLEST_GAIN_IN_EXAMPLES / arena.examples)
        calls, most = 0.0, arena.calls_ahead
        best = Plan(arena.field.unfinished[:0], 0.0)
        number = batch
        while most > 0:
            number = min(number, most)
            planned = plan(arena.posterior, arena.field, number, arena.rng, self.value)
            paying = planned.gain - worth * number > best.gain - worth * calls
            if planned.gain >= smallest and paying:
                calls, best = number, planned
            if number >= most:
                break
            number *= 2
        return calls, best

    def _to_finish(self, arena: Arena) -> Sequence[Run]:
        """The missing runs of the most wanted candidate that the calls left can finish."""
        finished = 0
        complete = arena.field.complete
        for candidate in self._eligible(arena):
            finished += bool(complete[candidate])
            if finished >= self.finish:
                return []
            runs = arena.field.missing([candidate], arena.left)
            if runs and arena.field.ran[candidate].sum() + len(runs) == arena.examples:
                return runs
            arena.cut_short |= not complete[candidate]
        return []

    def _reserved(self, arena: Arena) -> int:
        """Calls to keep for running the most wanted on all examples, without which they can't lead.

        They are for the leader and, in case its other scores disappoint, for the next one, as far
        as the calls left can finish them.
        """
        if arena.start is None:
            return 0
        kept: list[int] = []
        cost = 0
        for candidate in self._eligible(arena):
            together = arena.field.calls(arena.field.missing([*kept, candidate], math.inf))
            if together <= arena.left:
                kept.append(candidate)
                cost = together
            if len(kept) == RESERVED_FOR:
                break
        return cost

    def _eligible(self, arena: Arena) -> Iterator[int]:
        """The candidates that may lead or be run until they may, the most wanted first."""
        eligible = arena.field.entrants | arena.field.complete
        return (one for one in self.wanted(arena.posterior.mean) if eligible[one])

    def _propose(self, arena: Arena) -> None:
        """Add combinations of the choices that are best in draws from the posterior of each."""
        arena.forget_unseen()
        drawn = arena.posterior.level_draws(
            arena.field.design, arena.choices, PROPOSED, arena.rng, arena.ratings
        )
        best = np.stack([effects.argmax(axis=0) for effects in drawn], axis=1)
        arena.add(tuple(int(level) for level in row) for row in best)


def mean_ratings(ratings: Floats) -> Floats:
    """The mean of each row of choices x examples, shrunk to that of all; NaN where it has none."""
    known = ~np.isnan(ratings)
    overall = ratings[known].mean() if known.any() else np.nan
    shrunk = (np.where(known, ratings, 0).sum(axis=1) + overall) / (known.sum(axis=1) + 1)
    return np.where(known.any(axis=1), shrunk, np.nan)


def _rate_modules(arena: Arena) -> None:
    """Ask for ratings of all choices, each module after the best-rated choices before it."""
    assert arena.rate is not None
    now, ratings = arena.origin, []
    for module in range(len(arena.choices)):
        rated = arena.rate(module, now, RATED)
        if np.isnan(rated).all():
            return
        ratings.append(mean_ratings(rated))
        now = swapped(now, module, int(np.nanargmax(ratings[-1])))
    arena.take_ratings(ratings)
