"""Phrases in an instruction that help some models and hurt others.

Each phrase shifts the ability of a model in a skill by `mean + spread * z`, where `mean` belongs to
the kind of skill and `z` is a standard normal draw that belongs to (phrase, model, skill). One unit
of ability is about 25 points of accuracy for a model that is right half of the time.
A model's own `phrase_effects` take precedence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from pipelines.providers.simulated.draws import normal
from pipelines.providers.simulated.models import SimulatedModel

SkillKind = Literal["reading", "knowledge", "judging", "calculation"]

KINDS: dict[str, SkillKind] = {
    "locate": "reading",
    "verify": "judging",
    "judge": "judging",
    "diagnose": "judging",
    "compare": "judging",
    "write_instructions": "judging",
}
"""All other skills are calculation; to be added to."""


@dataclass(frozen=True)
class Phrase:
    """A phrase that works wherever it stands in an instruction, in any case."""

    text: str
    sentence: str
    """What a model that writes instructions puts it into."""
    means: Mapping[SkillKind, float] = field(default_factory=dict)
    """Mean shift of ability by kind of skill; 0 for kinds that are not named."""
    spread: float = 0.3
    """Standard deviation of the shift over models and skills."""
    length: float = 1.0
    """What it multiplies the length of the reasoning by."""


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

_MOST_SHIFT = 1.2


@lru_cache(maxsize=4096)
def phrases_in(instructions: str) -> tuple[Phrase, ...]:
    """Return the known phrases that occur in the instructions."""
    lowered = " ".join(instructions.lower().split())
    return tuple(phrase for phrase in PHRASES if phrase.text in lowered)


def phrase_shift(phrases: tuple[Phrase, ...], model: SimulatedModel, skill: str) -> float:
    """Return the sum of the phrases' shifts of ability, within [-1.2, 1.2]."""
    total = 0.0
    for phrase in phrases:
        own = model.phrase_effects.get(phrase.text, {})
        total += own[skill] if skill in own else _drawn_shift(phrase, model.name, skill)
    return max(-_MOST_SHIFT, min(_MOST_SHIFT, total))


def _drawn_shift(phrase: Phrase, model: str, skill: str) -> float:
    mean = phrase.means.get(KINDS.get(skill, "calculation"), 0.0)
    return mean + phrase.spread * normal("phrase", phrase.text, model, skill)


def reasoning_shift(model: str, skill: str) -> float:
    """Return what thinking before the answer adds: much in calculation, little elsewhere."""
    calculates = KINDS.get(skill, "calculation") == "calculation"
    mean, spread = (0.3, 0.15) if calculates else (0.0, 0.1)
    return mean + spread * normal("reasoning", model, skill)
