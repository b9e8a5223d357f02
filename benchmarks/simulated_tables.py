"""Simulated score tables: effects per module, interactions and examples' difficulty."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from evaluators.racing.posterior import Floats
from evaluators.score_table import ScoreTable
from evaluators.statistics import Interval, paired_interval
from optimizer.results.conclusion import NO_GAIN, is_withdrawn
from optimizer.search.table_search import search_table

HOLDOUT = 0.3
"""The default share of `optimize`."""


@dataclass(frozen=True)
class TableWorld:
    """Draws tables from a probit model with an effect of every choice.

    A combination solves an example where `mean + effects of its choices + interaction - difficulty
    + noise > 0`. Difficulty is that of the example, and the noise is a draw per combination and
    example, so that equally good combinations fail on different examples.
    """

    choices: Sequence[int]
    """How many choices each module has."""
    examples: int = 200
    mean: float = 0.8
    effects: float = 0.5
    """Standard deviation of the choices' effects in each module."""
    interactions: float = 0.2
    """Standard deviation of what a combination adds to the effects of its choices."""
    difficulty: float = 1.0
    """Standard deviation of the examples' difficulty."""
    trap: float | None = None
    """By how much one combination, of choices that are in the lower quarter with all others,
    exceeds the best of the rest, in standard deviations of the noise; None without one."""

    def table(self, seed: int) -> ScoreTable:
        """A table of 0/1 scores."""
        rng = np.random.default_rng(seed)
        ability = self._abilities(rng)
        difficulty = rng.normal(0.0, self.difficulty, self.examples)
        solves = ndtr(ability[..., None] - difficulty)
        scores = (rng.random(solves.shape) < solves).astype(np.float64)
        names = [f"module {number}" for number in range(1, len(self.choices) + 1)]
        modules = zip(names, self.choices, strict=True)
        return ScoreTable(scores, {name: list(range(count)) for name, count in modules})

    def truth(self, seed: int) -> Floats:
        """The mean score of every combination of that table over all possible examples."""
        ability = self._abilities(np.random.default_rng(seed))
        means: Floats = ndtr(ability / math.hypot(1.0, self.difficulty))
        return means

    def _abilities(self, rng: np.random.Generator) -> Floats:
        """Of every combination, in standard deviations of the noise."""
        ability = rng.normal(self.mean, self.interactions, self.choices)
        special = tuple(int(rng.integers(count)) for count in self.choices)
        for module, count in enumerate(self.choices):
            effects = rng.normal(0.0, self.effects, count)
            if self.trap is not None:
                effects[special[module]] = np.quantile(effects, 0.25)
            shape = [1] * len(self.choices)
            shape[module] = count
            ability += effects.reshape(shape)
        if self.trap is not None:
            ability[special] = ability.max() + self.trap
        return ability


class HeldOutSearch(NamedTuple):
    """A search on a part of a table's examples, and what the others say of its pick."""

    given: tuple[int, ...]
    """The combination in place."""
    picked: tuple[int, ...]
    """What the search chose."""
    measured: Interval
    """Its paired held-out gain over what was given."""
    withdrawn: bool
    """Whether the result is what was given nevertheless."""

    @property
    def final(self) -> tuple[int, ...]:
        """The combination that the user gets."""
        return self.given if self.withdrawn else self.picked

    @property
    def gain(self) -> Interval:
        """As reported."""
        return NO_GAIN if self.final == self.given else self.measured


def search_and_hold_out(table: ScoreTable, calls: int | None, seed: int) -> HeldOutSearch:
    """Search by the default strategy, from a random combination in place, as `optimize` does.

    Args:
        table: whose last examples are held out.
        calls: how many the search may make; None leaves it to the search.
        seed: of the combination in place, and of the search.
    """
    held = round(table.examples * HOLDOUT)
    searched = ScoreTable(table.scores[..., :-held], table.modules)
    rng = np.random.default_rng(seed)
    given = tuple(int(rng.integers(len(choices))) for choices in table.modules.values())
    found = search_table(searched, "default", calls, seed, table.choices(given))
    picked = table.levels(found.pick)
    measured = paired_interval(table.scores[picked][-held:], table.scores[given][-held:])
    withdrawn = picked != given and is_withdrawn(measured)
    return HeldOutSearch(given, picked, measured, withdrawn)


def ascents(means: Floats) -> Iterator[float]:
    """What coordinate ascent with perfect information ends at, from every combination.

    Args:
        means: the mean score of each combination, with an axis for each module.
    """
    for start in np.ndindex(*means.shape):
        levels, unchanged, module = list(start), 0, 0
        while unchanged < means.ndim:
            around: tuple[int | slice, ...] = (
                *levels[:module],
                slice(None),
                *levels[module + 1 :],
            )
            line = means[around]
            better = line.max() > line[levels[module]]
            levels[module] = int(line.argmax()) if better else levels[module]
            unchanged = 1 if better else unchanged + 1
            module = (module + 1) % means.ndim
        yield float(means[tuple(levels)])
