"""LLMSelector as published: each module takes the model that is rated best most often."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.racing.field import Run
from evaluators.racing.posterior import Floats
from optimizer.search.strategies.arena import Arena, swapped


@dataclass(frozen=True)
class LLMSelector:
    """Chen et al. (2025), arXiv 2502.14815, algorithm 1.

    For each example, the choices of a module with the highest rating; the most frequent of them
    over the examples takes the module; round robin, until a round of all modules changes nothing.
    Without a diagnoser, the end-to-end scores are the ratings.
    """

    name: str = "llmselector"

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        """A batch per module and turn: all its choices on all examples, the others unchanged."""
        now = arena.origin
        unchanged, module = 0, 0
        while unchanged < len(arena.choices):
            choices = range(arena.choices[module])
            places = [arena.place(swapped(now, module, level)) for level in choices]
            if arena.rate is None:
                yield arena.field.missing(places, math.inf)
                ratings = arena.field.scores[places]
            else:
                ratings = arena.rate(module, now, arena.examples)
            chosen = swapped(now, module, _most_often_best(ratings, now[module]))
            unchanged = 0 if chosen != now else unchanged + 1
            now, module = chosen, (module + 1) % len(arena.choices)
            arena.start = now
        place = arena.place(now)
        yield arena.field.missing([place], math.inf)

    def pick(self, arena: Arena) -> int:
        """The candidate that it arrived at."""
        return arena.place(arena.origin)


def _most_often_best(ratings: Floats, now: int) -> int:
    """The mode over examples of the choices with maximal rating; ties go to the present one."""
    known = np.where(np.isnan(ratings), -np.inf, ratings)
    best = known == known.max(axis=0)
    counts = (best & np.isfinite(known)).sum(axis=1)
    return now if counts[now] == counts.max() else int(counts.argmax())
