"""Successive halving: the better half of the candidates runs on twice as many examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.racing.field import Run
from optimizer.search.strategies.arena import MOST_LISTED, Arena, BestMean

FIRST = 8
"""How many examples are in the first rung without a budget."""


@dataclass(frozen=True)
class Halving(BestMean):
    """Karnin, Koren & Somekh (2013), all candidates in one bracket; ties are broken at random."""

    name: str = "halving"

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        """A batch per rung. With a budget, the first rung is as long as the budget allows."""
        if not arena.is_listed:
            arena.add(arena.sample() for _ in range(MOST_LISTED))
        alive = arena.rng.permutation(len(arena.places))
        size = FIRST if math.isinf(arena.left) else _first_rung(arena)
        while True:
            size = _rung(arena, len(alive), size)
            wanted = arena.field.missing(alive, math.inf)
            yield [(candidate, example) for candidate, example in wanted if example < size]
            ranked = alive[np.argsort(-arena.means()[alive], kind="stable")]
            if size == arena.examples or len(alive) == 1:
                return
            alive, size = ranked[: (len(ranked) + 1) // 2], 2 * size


def _rung(arena: Arena, alive: int, size: int) -> int:
    """How many examples a rung takes: all for the last candidate, if only that lets it lead."""
    finishes = alive == 1 and arena.start is not None
    return arena.examples if finishes else min(size, arena.examples)


def _first_rung(arena: Arena) -> int:
    """The longest first rung with which the budget reaches to the end."""
    sizes = range(1, arena.examples + 1)
    return max((size for size in sizes if _cost(arena, size) <= arena.left), default=1)


def _cost(arena: Arena, first: int) -> float:
    """About how many calls all rungs take, if candidates lose evenly."""
    users = arena.field.uses.sum(axis=0)
    everyone = len(arena.field.uses)
    alive, size, before, total = everyone, first, 0, 0.0
    while True:
        size = _rung(arena, alive, size)
        asked = float((1 - (1 - alive / everyone) ** users).sum())
        total += asked * (size - before)
        if size == arena.examples or alive == 1:
            return total
        alive, before, size = (alive + 1) // 2, size, 2 * size
