"""The default strategy: run the candidates from which the posterior expects to gain most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.racing.field import Run
from evaluators.racing.knowledge_gradient import Value, best_mean, plan
from evaluators.racing.posterior import Floats
from optimizer.search.leading.earning import Protected, leader
from optimizer.search.strategies.arena import Arena

FEWEST_CALLS, MORE_CALLS = 48, 0.12
"""A batch takes so many calls, or this share of all calls so far, whichever is more."""
PLANNED, FEW = 0.2, 4
"""Without a number of calls to plan for, it plans for this share of those that running
everything would take; for a larger share where there are few candidates, for all of up to 4."""
PLANNED_PER_CHOICE = 0.5
"""Of combinations too many to list, it plans for as many calls as running this share of one
candidate for each choice of each module on all examples takes."""
SMALLEST_GAIN = 0.005
"""Calls that are expected to improve the final choice by less are not made, unless the search was
told how many calls to plan for."""
PROPOSED = 16
"""Of combinations too many to list, so many are drawn at a time."""
MOST_FINISHED = 3
"""So many more candidates than are sought may be run on all examples at the end."""


def best_first(means: Floats) -> list[int]:
    """Candidates by their means."""
    return [int(candidate) for candidate in np.argsort(-means, kind="stable")]


@dataclass(frozen=True)
class PosteriorSearch:
    """Batches by knowledge gradient, under a linear mixed model of the scores."""

    name: str = "default"
    value: Value = best_mean
    """What the final choice is for."""
    wanted: Callable[[Floats], Sequence[int]] = best_first
    """From posterior means to the candidates that should be run on all examples, the most wanted
    first."""
    finish: int = 1
    """How many of these are sought."""

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        """Explore while calls are expected to pay, then run the leader on all examples."""
        if arena.start is not None:
            yield arena.field.missing([arena.places[arena.start]], math.inf)
        if not arena.is_listed:
            self._propose(arena)
        end = int(arena.field.made.sum()) + _planned(arena)
        while runs := self._next_runs(arena, end):
            yield runs
        for _ in range(self.finish + MOST_FINISHED):
            runs = self._to_finish(arena)
            if not runs:
                break
            yield runs

    def pick(self, arena: Arena) -> int:
        """The best posterior mean, if it may take the place of what there is."""
        ranked = np.argsort(-arena.posterior.mean, kind="stable")
        if arena.start is None:
            return int(ranked[0])
        given = arena.places[arena.start]
        complete = [int(candidate) for candidate in ranked if arena.field.complete[candidate]]
        protected = Protected(given, np.ones(len(ranked), dtype=bool))
        found = leader(arena.posterior, arena.field, complete, [protected])
        return given if found is None else found

    def _next_runs(self, arena: Arena, end: float) -> Sequence[Run]:
        """The next batch; empty where no calls are expected to pay, or none are left for them.

        Args:
            arena: of the search.
            end: so many calls in all are planned for.
        """
        if not arena.is_listed:
            self._propose(arena)
        if free := arena.field.free(arena.field.unfinished):
            return free
        made = int(arena.field.made.sum())
        wanted = end - made
        affordable = arena.left - self._reserved(arena)
        left = min(affordable, wanted)
        if wanted <= 0:
            return []
        calls = left if left > 0 else wanted
        planned = plan(arena.posterior, arena.field, calls, arena.rng, self.value)
        if arena.planned is None and planned.gain < SMALLEST_GAIN:
            return []
        batch = min(max(FEWEST_CALLS, MORE_CALLS * made), left)
        runs = arena.field.missing(planned.candidates, batch) if batch > 0 else []
        arena.cut_short |= not runs and affordable < wanted
        return runs

    def _to_finish(self, arena: Arena) -> Sequence[Run]:
        """What the most wanted candidate lacks, of those that the calls left can finish."""
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
        """Calls to keep for running the leader on all examples, where only that lets it lead."""
        if arena.start is None:
            return 0
        return arena.field.calls(arena.field.missing(self._eligible(arena)[:1], math.inf))

    def _eligible(self, arena: Arena) -> list[int]:
        """The candidates that may lead or be run until they may, the most wanted first."""
        eligible = arena.field.entrants | arena.field.complete
        return [one for one in self.wanted(arena.posterior.mean) if eligible[one]]

    def _propose(self, arena: Arena) -> None:
        """Combinations of the choices that are best in draws from what is believed of each."""
        arena.forget_unseen()
        drawn = arena.posterior.level_draws(
            arena.field.design, arena.choices, PROPOSED, arena.rng, arena.ratings
        )
        best = np.stack([effects.argmax(axis=0) for effects in drawn], axis=1)
        arena.add(tuple(int(level) for level in row) for row in best)


def _planned(arena: Arena) -> float:
    """How many calls the search is to take."""
    if arena.planned is not None:
        return arena.planned
    if not arena.is_listed:
        each = float(arena.field.uses.sum(axis=1).mean())
        return PLANNED_PER_CHOICE * each * arena.examples * sum(arena.choices)
    entrants = int(arena.field.entrants.sum())
    return arena.calls_ahead * max(PLANNED, min(1.0, FEW / max(1, entrants)))
