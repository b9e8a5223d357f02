"""Which prompts are others than in the pipeline as given, and how they read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import Module, Tunable
from pipelines.signature import fresh_signature, own_instructions
from search_spaces import ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json

if TYPE_CHECKING:
    from optimizer.results.result import Result

Prompt = tuple[str, tuple[dict[str, Any], ...]]
"""Instructions and demos."""


@dataclass(frozen=True)
class PromptChange:
    """One module's prompt, before and after."""

    module: str
    old: str
    new: str

    @property
    def diff(self) -> list[tuple[str, str]]:
        """Its lines, each with `+`, `-` or a space: what is new, what is gone, what stays."""
        lines = difflib.ndiff(_sentences(self.old), _sentences(self.new))
        return [(line[0], line[2:]) for line in lines if line[0] != "?"]


def prompts_of(pipeline: Tunable, config: PipelineConfig) -> dict[str, Prompt]:
    """The prompt of every module that has one to be tuned."""
    return {
        module.name: (_instructions(module, own), own.demos)
        for module in pipeline.modules
        if "instructions" in module.knobs
        for own in [config.modules[module.name]]
    }


def prompt_text(prompt: Prompt) -> str:
    """Instructions, and the demos below them, a line each."""
    instructions, demos = prompt
    return "\n".join([instructions, *(f"Demo: {canonical_json(demo)}" for demo in demos)])


def prompt_changes(result: Result) -> Iterator[PromptChange]:
    """Where the tuned prompt is another than the given one."""
    before = prompts_of(result.pipeline, result.baseline_config)
    for module, after in prompts_of(result.pipeline, result.config).items():
        if after != before[module]:
            yield PromptChange(module, prompt_text(before[module]), prompt_text(after))


def _instructions(module: Module, config: ModuleConfig) -> str:
    given = config.instructions or module.instructions or own_instructions(module.signature)
    told: str = fresh_signature(module.signature, given).instructions
    return told


def _sentences(text: str) -> list[str]:
    """Prompts are long lines: sentence by sentence they compare better."""
    return [part for line in text.splitlines() for part in line.replace(". ", ".\n").splitlines()]
