"""What one model believes about one item in one call: the draw between right and wrong.

A latent standard normal z belongs to (model, item); a reworded prompt redraws a small share of it,
another order of the options a larger one, and at temperature T each sample index redraws the share
T^2 / (1 + T^2). The model is right when z falls below the quantile of its chance, so that T = 0
always repeats itself, more temperature means more diversity, and the mean accuracy moves only by
the small cost of temperature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from math import sqrt

from pipelines.providers.simulated.answers import same_answer
from pipelines.providers.simulated.item_response import ability_for, chance
from pipelines.providers.simulated.model import SimulatedModel
from pipelines.providers.simulated.phrases import Phrase, phrase_shift, reasoning_shift
from pipelines.providers.simulated.randomness import normal, normal_cdf
from pipelines.providers.simulated.skills import solve_text
from pipelines.providers.simulated.solution import Solution, difficulty_of

PROMPT_SHARE = 0.1
"""Share of the latent variance that a reworded prompt redraws."""

ORDER_SHARE = 0.25
"""Share of what is left that another order of the options redraws."""

POSITION_BIAS = 2.0
"""How much more the first option tempts than the last one, where the model slips."""

TEMPERATURE_COST = 0.1
"""Ability lost at temperature 1; it grows with the square of the temperature."""

DEFAULT_TEMPERATURE = 1.0
"""What hosted models use when the call names none."""


@dataclass(frozen=True)
class Belief:
    """What a model holds to be the answer of an item."""

    solution: Solution
    value: str
    confidence: float
    """The model's chance on this item: what a perfectly calibrated model would report."""

    @property
    def right(self) -> bool:
        """Whether the value is the right one."""
        return self.value == self.solution.right


@dataclass(frozen=True)
class Mind:
    """One model reading one prompt, about to draw one sample."""

    model: SimulatedModel
    variant: str
    """Digest of the prompt around the inputs."""
    phrases: tuple[Phrase, ...] = ()
    reasons_first: bool = False
    demo_shift: float = 0.0
    effort_shift: float = 0.0
    thought_length: float = 1.0
    """What this call multiplies the length of the thoughts by."""
    temperature: float = DEFAULT_TEMPERATURE
    sample: int = 0

    def believe(self, solution: Solution) -> Belief:
        """Return the right value, or the wrong one that this model falls for."""
        if solution.via is not None:
            return self._believe_in_two_steps(solution, solution.via)
        likely = self.chance(solution.skill, solution.item)
        right = self._succeeds(likely, solution.skill, solution.item, solution.order)
        value = solution.right if right else self._slip(solution)
        return Belief(solution, value, likely)

    def doubts(self, belief: Belief) -> bool:
        """Return whether the model would rather say that it does not know."""
        share, item = self.model.admits_doubt, belief.solution.item
        return share > 0 and belief.confidence < 0.5 and self.luck("doubts", item) < share

    def passes(self, skill: str, item: str) -> bool:
        """Return whether the model gets an item of some skill right, where no value is needed."""
        return self._succeeds(self.chance(skill, item), skill, item)

    def chance(self, skill: str, item: str) -> float:
        """Return the probability that the model gets this item right."""
        ability = ability_for(self.model.skill(skill)) + self._shift(skill)
        return chance(ability, difficulty_of(skill, item))

    def rethink(self) -> Mind:
        """Return the same mind trying once more, less bound to its first thought."""
        return replace(self, variant=self.variant + "again", temperature=self.temperature + 1.0)

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

    def latent(self, *key: object, order: str = "") -> float:
        """Return a standard normal draw of this model; see the top of this file.

        `order` is that of the options, if there are any.
        """
        name, share = self.model.name, self.temperature**2 / (1.0 + self.temperature**2)
        settled = sqrt(1.0 - PROMPT_SHARE) * normal("latent", name, key)
        settled += sqrt(PROMPT_SHARE) * normal("latent", name, key, self.variant)
        if order:
            settled = sqrt(1.0 - ORDER_SHARE) * settled
            settled += sqrt(ORDER_SHARE) * normal("latent", name, key, "order", order)
        if share == 0.0:
            return settled
        drawn = normal("latent", name, key, self.variant + order, self.sample)
        return sqrt(1.0 - share) * settled + sqrt(share) * drawn

    def luck(self, *key: object, order: str = "") -> float:
        """Return a uniform draw in (0, 1) of this model, with the same dependence as `latent`."""
        return normal_cdf(self.latent(*key, order=order))

    def _believe_in_two_steps(self, solution: Solution, via: Solution) -> Belief:
        """Do whatever task the first step found, be it the wrong one."""
        first = self.believe(via)
        task = solve_text(first.value)
        if task is None:
            return Belief(solution, first.value, first.confidence)
        last = self.believe(task)
        return Belief(solution, last.value, first.confidence * last.confidence)

    def _shift(self, skill: str) -> float:
        shift = phrase_shift(self.phrases, self.model.name, skill, self.model.phrase_effects)
        if self.reasons_first:
            shift += reasoning_shift(self.model.name, skill)
        return shift + self.demo_shift + self.effort_shift - TEMPERATURE_COST * self.temperature**2

    def _succeeds(self, likely: float, skill: str, item: str, order: str = "") -> bool:
        return self.luck("succeeds", skill, item, order=order) < likely

    def _slip(self, solution: Solution) -> str:
        """Choose by Zipf's law among the wrong answers; temperature flattens it.

        Of options, the earlier ones tempt more.
        """
        ranked = solution.wrong_by_popularity
        exponent = 2.0 / (1.0 + self.temperature)
        pulls = (
            (rank + 1) ** -exponent * POSITION_BIAS ** -solution.place(text)
            for rank, text in enumerate(ranked)
        )
        heights = list(accumulate(pulls))
        luck = self.luck("slip", solution.skill, solution.item, order=solution.order)
        target = luck * heights[-1]
        return next(text for text, height in zip(ranked, heights, strict=True) if target <= height)


def _plausibility(solution: Solution, value: str) -> float:
    """Return 1 for what many believe, right or wrong, and 0 for what nobody says."""
    ranked = (solution.right, *solution.wrong_by_popularity)
    for rank, text in enumerate(ranked):
        if same_answer(value, text):
            return float(max(1, rank) ** -0.5)
    return 0.0
