"""Strategies that run each candidate on all examples: exhaustive, random, and Optuna's TPE."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.racing.field import Run
from optimizer.quiet_logs import quiet_optuna
from optimizer.search.strategies.arena import Arena, BestMean, Levels

STALE = 100
"""A sampler that proposes nothing new this many times in a row is stopped."""


def _one_by_one(arena: Arena, proposals: Iterable[Levels]) -> Iterator[Sequence[Run]]:
    """A batch per candidate, until the proposals repeat themselves."""
    stale = 0
    for levels in proposals:
        runs = arena.field.missing([arena.place(levels)], math.inf)
        stale = 0 if runs else stale + 1
        if runs:
            yield runs
        if stale == STALE:
            return


@dataclass(frozen=True)
class Exhaustive(BestMean):
    """Every candidate, example by example."""

    name: str = "exhaustive"

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        """One batch of everything."""
        arena.add(np.ndindex(*arena.choices))
        yield arena.field.missing(range(len(arena.places)), math.inf)


@dataclass(frozen=True)
class RandomSearch(BestMean):
    """Candidates at random, each on all examples."""

    name: str = "random"

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        """A batch per candidate."""
        return _one_by_one(arena, iter(arena.sample, None))


@dataclass(frozen=True)
class TPE(BestMean):
    """Optuna's tree-structured Parzen estimator, one categorical parameter per module."""

    name: str = "tpe"

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        """A batch per candidate."""
        return _one_by_one(arena, self._proposals(arena))

    def _proposals(self, arena: Arena) -> Iterator[Levels]:
        import optuna

        with quiet_optuna():
            sampler = optuna.samplers.TPESampler(seed=arena.seed)
            study = optuna.create_study(direction="maximize", sampler=sampler)
        while True:
            trial = study.ask()
            levels = tuple(
                trial.suggest_categorical(f"module {number}", list(range(count)))
                for number, count in enumerate(arena.choices)
            )
            yield levels
            study.tell(trial, float(arena.means()[arena.place(levels)]))
