"""Prompts that differ from those of the pipeline as given."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import Module, Tunable
from pipelines.modules.signature import fresh_signature, own_instructions
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json

if TYPE_CHECKING:
    from optimizer.results.result import Result

Prompt = tuple[str, tuple[dict[str, Any], ...]]
"""Instructions and demos."""


@dataclass(frozen=True)
class PromptChange:
    """The prompt of one module, or of a member with its own, before and after."""

    module: str
    """Its name; of a member with a prompt of its own, such as `solve.members.0`."""
    old: str
    new: str

    @property
    def diff(self) -> list[tuple[str, str]]:
        """Its sentences, each with `+` (new), `-` (gone) or a space (unchanged)."""
        lines = difflib.ndiff(_sentences(self.old), _sentences(self.new))
        return [(line[0], line[2:]) for line in lines if line[0] != "?"]


def prompts_of(pipeline: Tunable, config: PipelineConfig) -> dict[str, Prompt]:
    """The prompt of every module with a tunable one, and of members and roles with their own."""
    prompts: dict[str, Prompt] = {}
    for module in pipeline.modules:
        if "instructions" not in module.knobs:
            continue
        own = config.modules[module.name]
        prompts[module.name] = _instructions(module, own.instructions), own.demos
        for place, member in enumerate(own.members):
            if {"instructions", "demos"} & member.own.keys():
                whole = member.resolved(own.settings)
                prompt = _instructions(module, whole.instructions), whole.demos or ()
                prompts[f"{module.name}.members.{place}"] = prompt
        for path, role in own.walk(module.name):
            if path != module.name and (role.instructions or role.demos):
                prompts[path] = role.instructions or "", role.demos
    return prompts


def prompt_before(name: str, before: Mapping[str, Prompt]) -> Prompt:
    """The prompt of this name before; for a new member, its module's; empty for a role that had
    none of its own."""
    return before.get(name) or before.get(name.rpartition(".members.")[0]) or ("", ())


def prompt_text(prompt: Prompt) -> str:
    """Instructions, and the demos below them, a line each."""
    instructions, demos = prompt
    return "\n".join([instructions, *(f"Demo: {canonical_json(demo)}" for demo in demos)])


def prompt_changes(result: Result) -> Iterator[PromptChange]:
    """The tuned prompts that differ from the given ones."""
    before = prompts_of(result.pipeline, result.began)
    for name, after in prompts_of(result.pipeline, result.config).items():
        old = prompt_before(name, before)
        if after != old:
            yield PromptChange(name, prompt_text(old), prompt_text(after))


def _instructions(module: Module, instructions: str | None) -> str:
    given = instructions or module.instructions or own_instructions(module.signature)
    return str(fresh_signature(module.signature, given).instructions)


def _sentences(text: str) -> list[str]:
    """Split into sentences, which long lines are better compared by."""
    return [part for line in text.splitlines() for part in line.replace(". ", ".\n").splitlines()]
