"""What a simulated model does with a request: the parts that it can play."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipelines.providers.output_fields import message_text
from pipelines.providers.simulated.answers import (
    as_object,
    extract_answer,
    listed_texts,
    main_text,
    plain,
    same_kind,
)
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import (
    REASONING_NAMES,
    Answer,
    OutputField,
    ParsedRequest,
)
from pipelines.providers.simulated.tasks import Solution, find_solution, follow, solve_text

_RESULT = re.compile(r"^(final_?)?(answer|result|solution|value|number)$", re.IGNORECASE)
_COPYING = re.compile(r"\b(extract|locate|find|copy|quote)\b", re.IGNORECASE)
_REMARKS = (
    "The text speaks of {words}.",
    "This is about {words} and the like.",
    "In short: {words}.",
    "The inputs describe {words}.",
)


class Role(Protocol):
    """A part that a model can play, recognised by what the request asks for."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the answer, or None for another role's request. Pure; never raises."""
        ...


class Solve:
    """Answers the task that the inputs hold with what the model believes."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        case = read_case(request)
        if case is None:
            return None
        belief = mind.believe(case.solution)
        extras = case.solution.extras if belief.right else {}
        return Answer(belief.value, extras, sure=belief.right, confidence=belief.confidence)


class Improvise:
    """Says something of the right type where the request holds no task that the models can do."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer:
        text = "\n".join(request.inputs.values())
        luck = mind.luck("improvise", text)
        words = " ".join(text.split()[:12]) or "nothing in particular"
        return improvised(request, luck, _REMARKS[int(luck * len(_REMARKS))].format(words=words))


def improvised(request: ParsedRequest, luck: float, remark: str) -> Answer:
    """Return a remark in the text fields, and values of the right type in the others."""
    fields = {out.name: _of_type(out, luck) for out in request.wanted if out.type != "str"}
    known = {name: value for name, value in fields.items() if value is not None}
    return Answer(remark, known, sure=False, confidence=luck, comment=remark)


def _of_type(output: OutputField, luck: float) -> object:
    kind, _, inner = output.type.partition("[")
    if kind == "Literal":
        with suppress(ValueError, SyntaxError):  # odd text
            choices: tuple[object, ...] = literal_eval(f"({inner[:-1]},)")
            return choices[int(luck * len(choices))]
    simple: dict[str, object] = {"bool": luck > 0.5, "int": int(10 * luck), "float": luck}
    return {**simple, "list": [], "dict": {}}.get(kind)


@dataclass(frozen=True)
class Case:
    """An item together with the texts around it: drafts, opinions, feedback."""

    solution: Solution
    others: Mapping[str, str]
    """The input fields that the item was not read from, thoughts left out."""


def read_case(request: ParsedRequest, samples: Sequence[str] = ()) -> Case | None:
    """Return the item that the inputs hold, looking into JSON objects too, or None.

    A table of tasks can be asked for a task or for a task's result. `samples` are answers whose
    kind tells which, beside those in the inputs; else the names of the output fields tell.
    """
    inputs = _flattened(request.inputs)
    solution = find_solution(replace(request, inputs=inputs))
    if solution is None:
        return None
    others = {
        name: text
        for name, text in inputs.items()
        if name not in solution.used and name.lower() not in REASONING_NAMES
    }
    known = [*samples, *opinions_in(others)]
    if solution.skill == "locate" and _asks_result(request, solution, known):
        solution = follow(solution) or solution
    return Case(solution, others)


def opinions_in(texts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the answers that some fields hold: one each, or a list in one field."""
    found: list[str] = []
    for text in texts.values():
        entries = [entry for _, entry in listed_texts(text)] or [text]
        found.extend(main_text(entry) for entry in entries if entry.strip())
    return tuple(found)


def _flattened(inputs: Mapping[str, str]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, text in inputs.items():
        nested = as_object(text)
        pairs = {name: text} if nested is None else nested
        for inner, value in pairs.items():
            flat.setdefault(inner, value if isinstance(value, str) else _written(value))
    return flat


def _written(value: Any) -> str:
    """A chat's texts, as its reader saw them; else JSON."""
    if isinstance(value, list) and all(isinstance(e, dict) and "content" in e for e in value):
        return "\n\n".join(map(message_text, value))
    return json.dumps(value)


def _asks_result(request: ParsedRequest, located: Solution, samples: Sequence[str]) -> bool:
    if samples:
        tasks = {plain(located.right), *map(plain, located.wrong)}
        if any(plain(text) in tasks for text in samples):
            return False
        result = solve_text(located.right)
        like = result.right if result else ""
        return any(same_kind(extract_answer(text, like), like) for text in samples)
    named = any(
        output.type in ("int", "float") or _RESULT.match(output.name) for output in request.wanted
    )
    return named and not _COPYING.search(request.instructions)
