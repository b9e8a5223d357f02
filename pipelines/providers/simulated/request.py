"""Reads a call's messages: DSPy's ChatAdapter form, its JSONAdapter form, or plain chat."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

from pipelines.providers.output_fields import message_text
from pipelines.providers.simulated.draws import digest

Form = Literal["chat", "json", "text"]

REASONING_NAMES = frozenset({"reasoning", "rationale", "thoughts", "thinking", "analysis"})
"""Names of fields that hold the thoughts before an answer."""

_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*", re.MULTILINE)
_FIELD = re.compile(r"^\d+\. `(\w+)` \((.+?)\):(.*)$", re.MULTILINE)
_REMINDER = re.compile(
    r"\n\nRespond with (?:the corresponding output fields|a JSON object in the following order)"
    r"(?!.*\n\nRespond with ).*\Z",
    re.DOTALL,
)


@dataclass(frozen=True)
class OutputField:
    """An output field that the request asks for, with its type as the adapter writes it."""

    name: str
    type: str = "str"

    @property
    def is_reasoning(self) -> bool:
        return self.name.lower() in REASONING_NAMES


@dataclass(frozen=True)
class Demo:
    """A worked example among the messages."""

    inputs: Mapping[str, str]
    reply: str


@dataclass(frozen=True)
class ParsedRequest:
    """All that a simulated model knows of a call beside its parameters."""

    instructions: str
    inputs: Mapping[str, str]
    outputs: tuple[OutputField, ...]
    demos: tuple[Demo, ...] = ()
    form: Form = "chat"

    @property
    def variant(self) -> str:
        """A digest of the prompt around the inputs; a reworded prompt is another variant."""
        names = tuple(output.name for output in self.outputs)
        return digest("variant", self.instructions, names, repr(self.demos)).hex()

    @property
    def wanted(self) -> tuple[OutputField, ...]:
        return tuple(output for output in self.outputs if not output.is_reasoning)

    @property
    def reasons_first(self) -> bool:
        return bool(self.outputs) and self.outputs[0].is_reasoning


@dataclass(frozen=True)
class Answer:
    """What the model means to say, before it is written down."""

    value: Any
    """Goes into every output field that has no value of its own and is no reasoning."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Values of output fields by name."""
    sure: bool = True
    """False where the model slipped: it then writes at greater length."""
    confidence: float = 0.5
    """What it reports in a field called `confidence`, in [0, 1]."""
    comment: str = ""
    """A remark for fields such as `reason`, and the last sentence of the reasoning."""


def parse_request(messages: Sequence[Mapping[str, Any]]) -> ParsedRequest:
    """Return what the messages ask; never raises, for plain chat is the form of last resort."""
    texts = [(str(message.get("role", "user")), message_text(message)) for message in messages]
    system = "\n\n".join(text for role, text in texts if role in ("system", "developer"))
    turns = [(role, text) for role, text in texts if role in ("user", "assistant")]
    last = next((text for role, text in reversed(turns) if role == "user"), "")
    known = _parse_system(system)
    if known is None:
        return ParsedRequest(system or last, {"prompt": last}, (OutputField("answer"),), (), "text")
    names, outputs, instructions, form = known
    demos = tuple(
        Demo(_read_fields(asked, names), reply)
        for (role, asked), (next_role, reply) in pairwise(turns)
        if role == "user" and next_role == "assistant"
    )
    inputs = _read_fields(_REMINDER.sub("", last), names)
    return ParsedRequest(instructions, inputs, outputs, demos, form)


@lru_cache(maxsize=1024)
def _parse_system(
    text: str,
) -> tuple[frozenset[str], tuple[OutputField, ...], str, Form] | None:
    _, found, rest = text.partition("Your input fields are:")
    asked, found_outputs, rest = rest.partition("Your output fields are:")
    declared, found_structure, rest = rest.partition("All interactions will be structured")
    if not (found and found_outputs and found_structure):
        return None
    structure, _, objective = rest.partition("your objective is:")
    lines = (line.strip() for line in objective.strip().splitlines())
    form: Form = "json" if "Outputs will be a JSON object" in structure else "chat"
    names = frozenset(match[1] for match in _FIELD.finditer(asked))
    outputs = tuple(OutputField(match[1], match[2]) for match in _FIELD.finditer(declared))
    return names, outputs, "\n".join(lines), form


def _read_fields(text: str, names: frozenset[str]) -> dict[str, str]:
    """Split at the markers of `names`; other markers belong to the value that they stand in."""
    headers = [match for match in _HEADER.finditer(text) if match[1] in names]
    ends = [match.start() for match in headers[1:]] + [len(text)]
    fields: dict[str, str] = {}
    for header, end in zip(headers, ends, strict=False):
        fields.setdefault(header[1], text[header.end() : end].strip())
    return fields
