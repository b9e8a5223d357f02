"""The default strategy: run the candidates from which the posterior expects to gain most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.racing.field import Run
from evaluators.racing.knowledge_gradient import Value, best_mean, plan
from optimizer.search.earning import earns_place, first_to_earn
from optimizer.search.strategies.arena import Arena

FEWEST_CALLS, MORE_CALLS = 48, 0.12
"""A batch takes so many calls, or this share of all calls so far, whichever is more."""
PLANNED, FEW = 0.2, 8
"""Unless it is told how many calls to plan for, it plans for this share of those that running
everything would take; for a larger share where there are few candidates, for all of up to 8."""
SMALLEST_GAIN = 0.001
"""Calls that are expected to improve the final choice by less, a tenth of a point, are not made."""
PROPOSED = 64
"""Of combinations too many to list, so many are drawn at a time."""
MOST_FINISHED = 3
"""So many candidates in a row may be run on all examples at the end, each for leading then."""


@dataclass(frozen=True)
class PosteriorSearch:
    """Batches by knowledge gradient, under a linear mixed model of the scores."""

    name: str = "default"
    value: Value = best_mean

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        """Explore while calls are expected to pay, then run the leader on all examples."""
        if arena.start is not None:
            yield arena.field.missing([arena.places[arena.start]], math.inf)
        while runs := self._next_runs(arena):
            yield runs
        for _ in range(MOST_FINISHED):
            leader = self._leader(arena)
            if arena.field.complete[leader]:
                break
            yield arena.field.missing([leader], math.inf)

    def pick(self, arena: Arena) -> int:
        """The best posterior mean, if it may take the place of what there is."""
        ranked = np.argsort(-arena.posterior.mean, kind="stable")
        if arena.start is None:
            return int(ranked[0])
        given = arena.places[arena.start]
        complete = [int(candidate) for candidate in ranked if arena.field.complete[candidate]]
        return first_to_earn(
            complete, lambda one: earns_place(arena.posterior, one, given), otherwise=given
        )

    def _next_runs(self, arena: Arena) -> Sequence[Run]:
        """The next batch; empty where no calls are expected to pay, or none are left for them."""
        if not arena.is_listed:
            self._propose(arena)
        made = int(arena.field.made.sum())
        left = min(arena.left - self._to_finish(arena), _planned(arena) - made)
        if left <= 0:
            return []
        planned = plan(arena.posterior, arena.field, left, arena.rng, self.value)
        if planned.gain < SMALLEST_GAIN:
            return []
        batch = min(max(FEWEST_CALLS, MORE_CALLS * made), left)
        return arena.field.missing(planned.candidates, batch)

    def _leader(self, arena: Arena) -> int:
        """The best posterior mean, of those that the calls left can run on all examples."""
        for candidate in np.argsort(-arena.posterior.mean, kind="stable"):
            if _calls_to_finish(arena, int(candidate)) <= arena.left:
                return int(candidate)
        return int(arena.posterior.mean.argmax())

    def _to_finish(self, arena: Arena) -> int:
        """Calls to keep for running the leader on all examples, where only that lets it lead."""
        if arena.start is None:
            return 0
        return _calls_to_finish(arena, int(arena.posterior.mean.argmax()))

    def _propose(self, arena: Arena) -> None:
        """Combinations of the choices that are best in draws from what is believed of each."""
        arena.forget_unseen()
        drawn = arena.posterior.level_draws(arena.field.design, arena.choices, PROPOSED, arena.rng)
        best = np.stack([effects.argmax(axis=0) for effects in drawn], axis=1)
        arena.add(tuple(int(level) for level in row) for row in best)


def _calls_to_finish(arena: Arena, candidate: int) -> int:
    return arena.field.calls(arena.field.missing([candidate], math.inf))


def _planned(arena: Arena) -> float:
    """How many calls the search is to take, all in all."""
    if arena.planned is not None:
        return arena.planned
    return arena.calls_of_everything * max(PLANNED, min(1.0, FEW / arena.size))
