"""What the diagnoser is shown of a step, and how its ratings are kept."""

from __future__ import annotations

from typing import Any

from pipelines import ModuleStep
from search_spaces.config import canonical_json


def judged(step: ModuleStep) -> dict[str, Any]:
    """What the diagnoser sees of a step: its outputs but the reasoning."""
    return {k: v for k, v in (step.outputs or {}).items() if k != "reasoning"}


def shown(step: ModuleStep) -> str:
    """The same as canonical JSON: outputs that read alike are one output."""
    return canonical_json(judged(step))


def rating_key(step: ModuleStep) -> tuple[str, str, str]:
    """What a rating is of: a module, its inputs and its output, both as canonical JSON."""
    return step.module, canonical_json(step.inputs), shown(step)
