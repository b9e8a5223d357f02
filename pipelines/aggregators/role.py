"""The modules that an aggregator consults: what they see, and what they are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipelines.modules.module import Module
from pipelines.modules.signature import (
    REASONING,
    RESERVED_INPUTS,
    Strategy,
    signature_fields,
    signature_text,
)

if TYPE_CHECKING:
    import dspy

    from pipelines.modules.signature import Signature

CANDIDATE = "candidate"
"""A role that sees this field is asked about each candidate."""
CANDIDATES = "candidates"
"""A role that sees this field is asked once about all candidates."""


@dataclass(frozen=True)
class Role:
    """A call to a language model about the answers of members, made from the module's signature."""

    sees: str
    """`CANDIDATE` or `CANDIDATES`: the field that it sees besides the module's inputs."""
    writes: str
    """Its output fields, such as `accepted: bool`; empty for those of the module itself."""
    instructions: str
    """Its instructions; `{task}` stands for those of the module."""

    def most_times(self, width: int) -> int:
        """How often it is asked at most about the answers of `width` members."""
        return 1 if self.sees == CANDIDATES else width

    def module(self, name: str, of: Module, task_instructions: str | None) -> Module:
        """The module of this role, which gets the inputs of the module `of` and the candidates. Its
        output fields have names that those of `of` leave free; its `rename` leads back."""
        return _module(self, name, of.signature, of.strategy, task_instructions)  # type: ignore[arg-type]

    def field(self, of: Module) -> str:
        """The name of the field with the candidates, which no field of the module has."""
        return free_name(self.sees, (*of.input_fields, *of.output_fields))


@lru_cache(maxsize=1024)
def _module(
    role: Role, name: str, signature: Signature, strategy: Strategy, task_instructions: str | None
) -> Module:
    of = Module("module", signature)
    seen = role.field(of)
    wanted = signature_fields(f"{seen} -> {role.writes}").outputs if role.writes else {}
    rename: dict[str, str] = {}
    for field in wanted:
        if field in of.input_fields:
            rename[free_name(field, (*of.input_fields, seen, *wanted, *rename))] = field
    names = {field: free for free, field in rename.items()}
    if isinstance(signature, str):
        asked: Signature = _text(role, signature, seen, names)
    else:
        asked = _class(signature, seen, {names.get(f, f): kind for f, kind in wanted.items()})
    inputs, _, outputs = (part.strip() for part in signature_text(signature).partition("->"))
    task = task_instructions or f"Given the fields {inputs}, produce the fields {outputs}."
    instructions = role.instructions.format(task=task.strip())
    identifier = re.sub(r"\W+", "_", name).strip("_")
    return Module(identifier, asked, instructions=instructions, strategy=strategy, rename=rename)


def _text(role: Role, signature: str, seen: str, names: Mapping[str, str]) -> str:
    """The signature with a field more, and with the role's own outputs if it has any."""
    inputs, _, outputs = (part.strip() for part in signature.partition("->"))
    left = ", ".join(part for part in (inputs, f"{seen}: str") if part)
    written = role.writes or outputs
    for field, free in names.items():
        written = re.sub(rf"((?:^|,)\s*){field}\b", rf"\1{free}", written)
    return f"{left} -> {written}"


def _class(
    signature: type[dspy.Signature], seen: str, written: Mapping[str, Any]
) -> type[dspy.Signature]:
    """The same of a class; a chain of thought stays."""
    import dspy

    made: type[dspy.Signature] = signature.insert(
        len(signature.input_fields), seen, dspy.InputField(), str
    )
    if written:
        for field in signature.output_fields:
            made = made if field == REASONING else made.delete(field)
    for field, kind in written.items():
        made = made.append(field, dspy.OutputField(), kind)
    return made


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """The name, or the same with underscores after it."""
    names = {*taken, *RESERVED_INPUTS}
    while wanted in names:
        wanted += "_"
    return wanted


YES_OR_NO = Role(
    CANDIDATE,
    "accepted: bool",
    "Another model was told:\n\n{task}\n\nThe candidate is what it answered. Accept it if it is "
    "right, judging by yourself; else do not.",
)
"""Accepts or rejects one candidate."""
