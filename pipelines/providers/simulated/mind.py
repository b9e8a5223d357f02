"""What one model believes about one item in one call: the draw between right and wrong.

A latent standard normal z belongs to (model, item); a reworded prompt redraws a small share of it,
and at temperature T each sample index redraws the share T^2 / (1 + T^2). The model is right when z
falls below the quantile of its chance, so that T = 0 always repeats itself, more temperature means
more diversity, and the mean accuracy moves only by the small cost of temperature.

Each phrase of `PHRASES` in an instruction shifts the ability of a model in a skill by `mean +
spread * z`, where `mean` belongs to the kind of skill and `z` is a standard normal draw that
belongs to (phrase, model, skill). One unit of ability is about 25 points of accuracy for a model
that is right half of the time. A model's own `phrase_effects` take precedence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from math import sqrt
from typing import NamedTuple

from pipelines.providers.simulated.draws import (
    STANDARD_NORMAL,
    ability_for,
    chance,
    difficulty_of,
    normal,
)
from pipelines.providers.simulated.models import SimulatedModel
from pipelines.providers.simulated.request import Answer, ParsedRequest, same_answer
from pipelines.providers.simulated.tasks import Solution, solve_text

PROMPT_SHARE = 0.1
"""Share of the latent variance that a reworded prompt redraws."""
TEMPERATURE_COST = 0.1
"""Ability lost at temperature 1; it grows with the square of the temperature."""
_MOST_SHIFT = 1.2

KINDS = {"locate": "reading"} | dict.fromkeys(
    ("verify", "judge", "diagnose", "compare", "write_instructions"), "judging"
)
"""The kinds of skills that are not calculation; to be added to."""


@dataclass(frozen=True)
class Phrase:
    """A phrase that works wherever it stands in an instruction, in any case."""

    text: str
    sentence: str
    """What a model that writes instructions puts it into."""
    means: Mapping[str, float] = field(default_factory=dict)
    """Mean shift of ability by kind of skill; 0 for kinds that are not named."""
    spread: float = 0.3
    """Standard deviation of the shift over models and skills."""
    length: float = 1.0
    """What it multiplies the length of the reasoning by."""

    def shift(self, model: SimulatedModel, skill: str) -> float:
        """What it adds to the model's ability."""
        own = model.phrase_effects.get(self.text, {})
        if skill in own:
            return own[skill]
        mean = self.means.get(KINDS.get(skill, "calculation"), 0.0)
        return mean + self.spread * normal("phrase", self.text, model.name, skill)


PHRASES: tuple[Phrase, ...] = (
    Phrase(
        "step by step", "Work step by step.", {"calculation": 0.15, "reading": -0.05}, 0.35, 1.4
    ),
    Phrase("check your work", "Check your work before you answer.", {"calculation": 0.1}, 0.3, 1.3),
    Phrase("be concise", "Be concise.", {"calculation": -0.05}, 0.25, 0.5),
    Phrase("number only", "Answer with the number only.", {"reading": -0.4}, 0.3, 0.7),
    Phrase("exactly as it stands", "Copy what you quote exactly as it stands.", {"reading": 0.25}),
    Phrase("solve it yourself first", "Solve it yourself first.", {"judging": 0.2}),
    Phrase("read the question twice", "Read the question twice.", {"reading": 0.1}, 0.25),
    Phrase("you are an expert", "You are an expert in this field.", {"knowledge": 0.1}, 0.2),
    Phrase("take a deep breath", "Take a deep breath.", {}, 0.2),
    Phrase("do not guess", "Do not guess.", {"knowledge": -0.1}, 0.3),
)


@lru_cache(maxsize=4096)
def phrases_in(instructions: str) -> tuple[Phrase, ...]:
    """The known phrases that occur in the instructions."""
    lowered = " ".join(instructions.lower().split())
    return tuple(phrase for phrase in PHRASES if phrase.text in lowered)


class Belief(NamedTuple):
    """What a model holds to be the answer of an item."""

    value: str
    confidence: float
    """The model's chance on this item: what a perfectly calibrated model would report."""


@dataclass(frozen=True)
class Mind:
    """One model reading one prompt, about to draw one sample."""

    model: SimulatedModel
    variant: str
    """Digest of the prompt around the inputs."""
    phrases: tuple[Phrase, ...] = ()
    reasons_first: bool = False
    temperature: float = 1.0
    sample: int = 0
    length: float = 1.0
    """What multiplies the length of its thoughts."""

    def believe(self, solution: Solution) -> Belief:
        """The right value, or the wrong one that this model falls for."""
        if solution.via is not None:  # it does whatever task the first step found
            first = self.believe(solution.via)
            task = solve_text(first.value)
            if task is None:
                return first
            last = self.believe(task)
            return Belief(last.value, first.confidence * last.confidence)
        right = self.passes(solution.skill, solution.item)
        value = solution.right if right else self.slip(solution)
        return Belief(value, self.chance(solution.skill, solution.item))

    def passes(self, skill: str, item: str) -> bool:
        """Whether the model gets an item of some skill right."""
        return self.luck("succeeds", skill, item) < self.chance(skill, item)

    def chance(self, skill: str, item: str) -> float:
        """How likely the model gets an item of some skill right."""
        ability = ability_for(self.model.skill(skill)) + self.shift(skill)
        return chance(ability, difficulty_of(skill, item))

    def shift(self, skill: str) -> float:
        """What the prompt and the temperature add to the ability."""
        shift = 0.0
        for phrase in self.phrases:
            shift += phrase.shift(self.model, skill)
        shift = max(-_MOST_SHIFT, min(_MOST_SHIFT, shift))
        if self.reasons_first:  # which adds much in calculation, and little elsewhere
            mean, spread = (0.0, 0.1) if skill in KINDS else (0.3, 0.15)
            shift += mean + spread * normal("reasoning", self.model.name, skill)
        return shift - TEMPERATURE_COST * self.temperature**2

    def assess(self, solution: Solution, value: str, skill: str) -> float:
        """How good `value` looks to the model, from about 0 to about 1.

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
        """A standard normal draw of this model; see the top of this file."""
        settled = sqrt(1.0 - PROMPT_SHARE) * normal("latent", self.model.name, key)
        settled += sqrt(PROMPT_SHARE) * normal("latent", self.model.name, key, self.variant)
        share = self.temperature**2 / (1.0 + self.temperature**2)
        if share == 0.0:
            return settled
        drawn = normal("latent", self.model.name, key, self.variant, self.sample)
        return sqrt(1.0 - share) * settled + sqrt(share) * drawn

    def luck(self, *key: object) -> float:
        """A uniform draw in (0, 1) of this model, with the same dependence as `latent`."""
        return STANDARD_NORMAL.cdf(self.latent(*key))

    def unseen_tokens(self, request: ParsedRequest, answer: Answer) -> int:
        """Tokens of thoughts that the reply does not show: none."""
        return 0

    def slip(self, solution: Solution) -> str:
        """A wrong answer, drawn by Zipf's law; temperature flattens it."""
        ranked, exponent = solution.wrong_by_popularity, 2.0 / (1.0 + self.temperature)
        heights = list(accumulate((rank + 1) ** -exponent for rank in range(len(ranked))))
        target = self.luck("slip", solution.skill, solution.item) * heights[-1]
        return next(text for text, height in zip(ranked, heights, strict=True) if target <= height)


def _plausibility(solution: Solution, value: str) -> float:
    """1 for what many believe, right or wrong, and 0 for what nobody says."""
    for rank, text in enumerate((solution.right, *solution.wrong_by_popularity)):
        if same_answer(value, text):
            return float(max(1, rank) ** -0.5)
    return 0.0
