"""What a simulated model does with a request: the parts that it can play.

Writers of instructions (skill `write_instructions`) keep the present ones and add phrases. Good
writers add what helps on average; poor ones add anything, and now and then lose the wording.
"""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pipelines.providers.output_fields import message_text
from pipelines.providers.simulated.mind import PHRASES, Mind
from pipelines.providers.simulated.request import (
    Answer,
    OutputField,
    ParsedRequest,
    as_object,
    extract_answer,
    plain,
    same_kind,
)
from pipelines.providers.simulated.tasks import Solution, find_solution, follow, solve_text

Role = Callable[[ParsedRequest, Mind], Answer | None]
"""Plays one part; None for a request that asks for another. Pure; never raises."""

_RESULT = re.compile(r"^(final_?)?(answer|result|solution|value|number)$", re.IGNORECASE)
_COPYING = re.compile(r"\b(extract|locate|find|copy|quote)\b", re.IGNORECASE)
_REMARKS = (
    "The text speaks of {words}.",
    "This is about {words} and the like.",
    "In short: {words}.",
    "The inputs describe {words}.",
)
_WANTS_INSTRUCTION = re.compile(
    r"\b(?:write|propose|provide|generate)\b.{0,40}\b(?:new|improved|better)\b.{0,20}\binstruction",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(r"```(?:\w*\n)?(.*?)```", re.DOTALL)
_ATTEMPT = re.compile(r"Instruction #\d+:\s*(.+?)(?=»|\\n|\n|[\"'],\s|[\"']\]|\Z)")
_LOST = "Produce the requested output fields from the input fields."


def solve(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Answer the task that the inputs hold with what the model believes."""
    solution = read_solution(request)
    return answer_to(solution, mind) if solution else None


def answer_to(solution: Solution, mind: Mind) -> Answer:
    """What the model believes to be the answer."""
    value, confidence = mind.believe(solution)
    right = value == solution.right
    return Answer(value, solution.extras if right else {}, sure=right, confidence=confidence)


def improvise(request: ParsedRequest, mind: Mind) -> Answer:
    """Say something where the request holds no task that the models can do."""
    text = "\n".join(request.inputs.values())
    luck = mind.luck("improvise", text)
    words = " ".join(text.split()[:12]) or "nothing in particular"
    return improvised(request, luck, _REMARKS[int(luck * len(_REMARKS))].format(words=words))


def improvised(request: ParsedRequest, luck: float, remark: str) -> Answer:
    """A remark in the text fields, and values of the right type in the others."""
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


def read_solution(request: ParsedRequest, samples: Sequence[str] = ()) -> Solution | None:
    """The item that the inputs hold, looking into JSON objects too, or None.

    A table of tasks can be asked for a task or for a task's result: the kind of `samples`, which
    are answers, tells which, or else the names of the output fields.
    """
    solution = find_solution(replace(request, inputs=flattened(request)))
    if solution and solution.skill == "locate" and _asks_result(request, solution, samples):
        return follow(solution) or solution
    return solution


def flattened(request: ParsedRequest) -> dict[str, str]:
    """The inputs, and those within JSON objects; a chat in one reads as its texts."""
    flat: dict[str, str] = {}
    for name, text in request.inputs.items():
        nested = as_object(text)
        for inner, value in ({name: text} if nested is None else nested).items():
            flat.setdefault(inner, value if isinstance(value, str) else _written(value))
    return flat


def _written(value: Any) -> str:
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
    named = any(out.type in ("int", "float") or _RESULT.match(out.name) for out in request.wanted)
    return named and not _COPYING.search(request.instructions)


def write_instructions(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Play the prompt model of COPRO, MIPROv2 and GEPA."""
    asked = [o.name for o in request.wanted if "instruction" in o.name.lower()]
    free = request.form == "text" and _WANTS_INSTRUCTION.search(request.inputs["prompt"])
    if not asked and not free:
        return None
    present, key = _present_instruction(request), repr(sorted(request.inputs.items()))
    able = mind.passes("write_instructions", key)
    lacking = [phrase for phrase in PHRASES if phrase.text not in present.lower()]
    useful = [phrase for phrase in lacking if sum(phrase.means.values()) > 0]
    pool = useful if able and useful else lacking
    chosen = sorted(pool, key=lambda phrase: mind.luck("phrase", key, phrase.text))
    count = 1 + int(3 * mind.luck("how many", key))
    if not present or (not able and mind.luck("loses the wording", key) < 0.4):
        present = _LOST
    ended = present if present.endswith((".", "!", "?", ":", "\n")) else f"{present}."
    text = " ".join([ended, *(phrase.sentence for phrase in chosen[:count])])
    prefixes = {o.name: "Answer:" for o in request.wanted if "prefix" in o.name.lower()}
    return Answer(f"```\n{text}\n```" if free else text, {**dict.fromkeys(asked, text), **prefixes})


def _present_instruction(request: ParsedRequest) -> str:
    """The instruction to improve: the last attempt, the basic one, or the first quoted."""
    for name, text in request.inputs.items():
        if attempts := _ATTEMPT.findall(text):
            return str(attempts[-1]).strip()
        if "instruction" in name.lower() and "previous" not in name.lower() and text:
            return text.strip()
    quoted = _QUOTED.search("\n".join(request.inputs.values()))
    return quoted[1].strip() if quoted else ""
