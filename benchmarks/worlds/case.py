"""An item together with the texts around it: drafts, opinions, feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import (
    REASONING_NAMES,
    Answer,
    ParsedRequest,
    as_object,
    listed_texts,
)
from pipelines.providers.simulated.roles import answer_to, flattened, read_solution
from pipelines.providers.simulated.tasks import Solution, find_solution


@dataclass(frozen=True)
class Case:
    """An item, and what stands beside it."""

    solution: Solution
    others: Mapping[str, str]
    """The input fields that the item was not read from, thoughts left out."""


def read_case(request: ParsedRequest, samples: Sequence[str] = ()) -> Case | None:
    """Return the item that the inputs hold, or None; answers beside it tell what is asked, too."""
    inputs = flattened(request)
    found = find_solution(replace(request, inputs=inputs))
    if found is None:
        return None
    others = {
        name: text
        for name, text in inputs.items()
        if name not in found.used and name.lower() not in REASONING_NAMES
    }
    solution = read_solution(request, [*samples, *opinions_in(others)])
    return Case(solution or found, others)


def solve(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Answer the task that the inputs hold with what the model believes."""
    case = read_case(request)
    return answer_to(case.solution, mind) if case else None


def opinions_in(texts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the answers that some fields hold: one each, or a list in one field."""
    found: list[str] = []
    for text in texts.values():
        entries = [entry for _, entry in listed_texts(text)] or [text]
        found.extend(main_text(entry) for entry in entries if entry.strip())
    return tuple(found)


def main_text(text: str) -> str:
    """Return the answer in a JSON object of output fields, or else the text itself."""
    fields = as_object(text)
    if fields is None:
        return text.strip().strip("«»").strip()
    values = [str(value) for name, value in fields.items() if name not in REASONING_NAMES]
    return values[-1] if values else ""
