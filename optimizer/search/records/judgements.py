"""The diagnoser's ratings so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluators.diagnosis.diagnoser import Diagnosis
from pipelines import ModuleStep
from search_spaces.config import canonical_json


@dataclass
class Judgements:
    """The ratings of modules' outputs, of all rounds."""

    _ratings: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """By module, its inputs and its output, both as canonical JSON."""

    def rating(self, step: ModuleStep) -> float | None:
        """The diagnoser's rating of this output on the same inputs, from any round, if any."""
        return self._ratings.get(_key(step))

    def note(self, steps: Sequence[ModuleStep], diagnosis: Diagnosis) -> None:
        """Keep the diagnoser's ratings of a module's distinct outputs on the same inputs."""
        for step, rating in zip(steps, diagnosis.ratings, strict=True):
            self._ratings[_key(step)] = rating


def judged(step: ModuleStep) -> dict[str, Any]:
    """What the diagnoser sees of a step: its outputs but the reasoning."""
    return {k: v for k, v in (step.outputs or {}).items() if k != "reasoning"}


def shown(step: ModuleStep) -> str:
    """The same as canonical JSON: outputs that read alike are one output."""
    return canonical_json(judged(step))


def _key(step: ModuleStep) -> tuple[str, str, str]:
    return step.module, canonical_json(step.inputs), shown(step)
