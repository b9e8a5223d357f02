"""What one model believes about one item in one call: the draw between right and wrong.

A latent standard normal z belongs to (model, item); a reworded prompt redraws a small share of it,
and at temperature T each sample index redraws the share T^2 / (1 + T^2). The model is right when z
falls below the quantile of its chance, so that T = 0 always repeats itself, more temperature means
more diversity, and the mean accuracy moves only by the small cost of temperature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt

from pipelines.providers.simulated.answers import same_answer
from pipelines.providers.simulated.draws import (
    STANDARD_NORMAL,
    ability_for,
    chance,
    difficulty_of,
    normal,
)
from pipelines.providers.simulated.models import ORDINARY, SimulatedModel, Thinking
from pipelines.providers.simulated.phrases import Phrase, phrase_shift, reasoning_shift
from pipelines.providers.simulated.tasks import Solution, solve_text

PROMPT_SHARE = 0.1
"""Share of the latent variance that a reworded prompt redraws."""

TEMPERATURE_COST = 0.1
"""Ability lost at temperature 1; it grows with the square of the temperature."""


@dataclass(frozen=True)
class Belief:
    """What a model holds to be the answer of an item."""

    solution: Solution
    value: str
    confidence: float
    """The model's chance on this item: what a perfectly calibrated model would report."""

    @property
    def right(self) -> bool:
        return self.value == self.solution.right


@dataclass(frozen=True)
class Mind:
    """One model reading one prompt, about to draw one sample."""

    model: SimulatedModel
    variant: str
    """Digest of the prompt around the inputs."""
    phrases: tuple[Phrase, ...] = ()
    reasons_first: bool = False
    thinking: Thinking = ORDINARY
    temperature: float = 1.0
    sample: int = 0

    def believe(self, solution: Solution) -> Belief:
        """Return the right value, or the wrong one that this model falls for."""
        if solution.via is not None:
            return self._believe_in_two_steps(solution, solution.via)
        likely, mind = self.chance(solution.skill, solution.item), solution.seen_by(self)
        right = mind.luck("succeeds", solution.skill, solution.item) < likely
        return Belief(solution, solution.right if right else mind.slip(solution), likely)

    def passes(self, skill: str, item: str) -> bool:
        """Return whether the model gets an item of some skill right, where no value is needed."""
        return self.luck("succeeds", skill, item) < self.chance(skill, item)

    def chance(self, skill: str, item: str) -> float:
        ability = ability_for(self.model.skill(skill)) + self._shift(skill)
        return chance(ability, difficulty_of(skill, item))

    def assess(self, solution: Solution, value: str, skill: str) -> float:
        """Return how good `value` looks to the model, from about 0 to about 1.

        It solves the item itself, with the luck it would have in answering. `skill` decides whether
        it then compares with care; if not, what is commonly believed sounds good to it.
        """
        own = self.believe(solution)
        if not self.passes(skill, solution.item):
            seeming = 0.4 + 0.3 * _plausibility(solution, value)
        elif same_answer(value, own.value):
            seeming = 0.7 + 0.25 * own.confidence
        else:
            seeming = 0.3 - 0.2 * own.confidence
        return seeming + 0.1 * self.latent("rating", solution.item, value)

    def latent(self, *key: object) -> float:
        """Return a standard normal draw of this model; see the top of this file."""
        settled = self.settled(*key)
        share = self.temperature**2 / (1.0 + self.temperature**2)
        if share == 0.0:
            return settled
        drawn = normal("latent", self.model.name, key, self.variant, self.sample)
        return sqrt(1.0 - share) * settled + sqrt(share) * drawn

    def settled(self, *key: object) -> float:
        """Return the part of `latent` that all samples share, itself standard normal."""
        settled = sqrt(1.0 - PROMPT_SHARE) * normal("latent", self.model.name, key)
        return settled + sqrt(PROMPT_SHARE) * normal("latent", self.model.name, key, self.variant)

    def luck(self, *key: object) -> float:
        """Return a uniform draw in (0, 1) of this model, with the same dependence as `latent`."""
        return STANDARD_NORMAL.cdf(self.latent(*key))

    def slip(self, solution: Solution) -> str:
        """Choose by Zipf's law among the wrong answers; temperature flattens it."""
        ranked, heights = solution.wrong_by_popularity, list(accumulate(self.pulls(solution)))
        target = self.luck("slip", solution.skill, solution.item) * heights[-1]
        return next(text for text, height in zip(ranked, heights, strict=True) if target <= height)

    def pulls(self, solution: Solution) -> Iterator[float]:
        """Yield how much each wrong answer tempts, from the most popular on."""
        exponent = 2.0 / (1.0 + self.temperature)
        return ((rank + 1) ** -exponent for rank in range(len(solution.wrong)))

    def _believe_in_two_steps(self, solution: Solution, via: Solution) -> Belief:
        """Do whatever task the first step found, be it the wrong one."""
        first = self.believe(via)
        task = solve_text(first.value)
        if task is None:
            return Belief(solution, first.value, first.confidence)
        last = self.believe(task)
        return Belief(solution, last.value, first.confidence * last.confidence)

    def _shift(self, skill: str) -> float:
        shift = phrase_shift(self.phrases, self.model, skill)
        if self.reasons_first:
            shift += reasoning_shift(self.model.name, skill)
        for more in self.thinking.shifts:
            shift += more
        return shift - TEMPERATURE_COST * self.temperature**2


def _plausibility(solution: Solution, value: str) -> float:
    """Return 1 for what many believe, right or wrong, and 0 for what nobody says."""
    for rank, text in enumerate((solution.right, *solution.wrong_by_popularity)):
        if same_answer(value, text):
            return float(max(1, rank) ** -0.5)
    return 0.0
