"""Reads what a call's messages ask, and the answers that stand in them."""

from __future__ import annotations

import json
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

_FIELD = re.compile(r"^\d+\. `(\w+)` \((.+?)\):(.*)$", re.MULTILINE)
_REMINDER = re.compile(
    r"\n\nRespond with (?:the corresponding output fields|a JSON object in the following order)"
    r"(?!.*\n\nRespond with ).*\Z",
    re.DOTALL,
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_LETTER = re.compile(r"\(?\b([A-J])\b\)?")
_HEDGE = re.compile(r"\s*\([^()]*\s[^()]*\)\s*$")
_ANSWER_IS = re.compile(r"\banswer is:?\s+(.+)", re.IGNORECASE)
_LABEL = re.compile(
    r"^\s*(?:(?:Agent|Candidate|Answer|Option|Solver|Debater)\s*)?"
    r"(?:\[(\d+)\]|\((\d+)\)|(\d+)[.:])[ \t]+",
    re.MULTILINE | re.IGNORECASE,
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
        """The outputs without the reasoning."""
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
    """What the messages ask, in the form of DSPy's ChatAdapter or JSONAdapter; else plain chat."""
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
def _parse_system(text: str) -> tuple[set[str], tuple[OutputField, ...], str, Form] | None:
    _, found, rest = text.partition("Your input fields are:")
    asked, found_outputs, rest = rest.partition("Your output fields are:")
    declared, found_structure, rest = rest.partition("All interactions will be structured")
    if not (found and found_outputs and found_structure):
        return None
    structure, _, objective = rest.partition("your objective is:")
    lines = (line.strip() for line in objective.strip().splitlines())
    form: Form = "json" if "Outputs will be a JSON object" in structure else "chat"
    names = {match[1] for match in _FIELD.finditer(asked)}
    outputs = tuple(OutputField(match[1], match[2]) for match in _FIELD.finditer(declared))
    return names, outputs, "\n".join(lines), form


def _read_fields(text: str, names: set[str]) -> dict[str, str]:
    """Split at the markers of `names`; other markers belong to the value that they stand in."""
    marker = rf"^\[\[ ## ({'|'.join(sorted(names))}) ## \]\][ \t]*"
    _, *parts = re.split(marker, text, flags=re.MULTILINE)
    fields: dict[str, str] = {}
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        fields.setdefault(name, value.strip())
    return fields


def same_answer(left: str, right: str) -> bool:
    """Whether two answers say the same, whatever the case, the hedges and the full stop."""
    return plain(left) == plain(right)


@lru_cache(maxsize=65536)
def plain(text: str) -> str:
    """An answer in the form in which it is compared."""
    bare = _HEDGE.sub("", text).strip().strip("\"'`*.«» ").casefold()
    number = bare.replace(",", "")
    if re.fullmatch(r"-?\d+(\.\d+)?", number):
        return f"{float(number):g}" if len(number) < 7 else number
    return " ".join(bare.strip("()").split())


def extract_answer(text: str, like: str) -> str:
    """The part of `text` that answers a question whose right answer looks like `like`."""
    stated = _ANSWER_IS.search(text)
    found = stated[1].rstrip(".") if stated else _HEDGE.sub("", text).strip()
    if re.fullmatch("[A-J]", like):
        letters = _LETTER.findall(found)
        return str(letters[0]) if letters else found
    if _NUMBER.fullmatch(like):
        numbers = _NUMBER.findall(found)
        return str(numbers[0 if stated or len(found) < 60 else -1]) if numbers else found
    return found.splitlines()[0].strip() if found else found


def same_kind(text: str, like: str) -> bool:
    """Whether the text is a number or an option letter if, and only if, `like` is."""
    kinds = (_NUMBER, re.compile("[A-J]"))
    return all(bool(k.fullmatch(text.strip())) == bool(k.fullmatch(like)) for k in kinds)


def as_object(text: str) -> dict[str, Any] | None:
    """The JSON object that the text is, or None."""
    loaded = _load(text) if text.lstrip().startswith("{") else None
    return loaded if isinstance(loaded, dict) else None


def listed_texts(text: str) -> tuple[tuple[str, str], ...]:
    """(label, text) of each entry of a numbered list, or of a JSON list, labelled from 1."""
    loaded = _load(text) if text.lstrip().startswith("[") else None
    if isinstance(loaded, list):
        dumped = [e if isinstance(e, str) else json.dumps(e) for e in loaded]
        return tuple((str(number), entry) for number, entry in enumerate(dumped, start=1))
    _, *parts = _LABEL.split(text)
    entries = zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    return tuple((one or two or three, entry.strip()) for one, two, three, entry in entries)


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
