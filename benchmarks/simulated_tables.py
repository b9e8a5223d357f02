"""Simulated score tables: effects per module, interactions and examples' difficulty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from evaluators.racing.posterior import Floats
from evaluators.score_table import ScoreTable


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
