"""Candidate answers shown to a judge: how they are read, and how good each of them looks.

What is judged stands in an input `candidate` (one) or `candidates` (a numbered list), each a JSON
object of output fields or a bare answer. All other inputs are those of the module that gave them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.providers.simulated.answers import (
    REASONING_NAMES,
    as_object,
    extract_answer,
    listed_texts,
)
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.roles.feedback import is_feedback, read_feedback
from pipelines.providers.simulated.roles.role import Case, read_case
from pipelines.providers.simulated.solution import Solution


@dataclass(frozen=True)
class Candidate:
    """One output of the module under judgement."""

    label: str
    fields: Mapping[str, Any]
    """Its output fields, without thoughts and confidence."""

    def value(self, solution: Solution) -> str:
        """Return its answer: the last field that is no by-product of the task."""
        values = [value for name, value in self.fields.items() if name not in solution.extras]
        return extract_answer(str(values[-1]), solution.right) if values else ""


def read_candidate(label: str, text: str) -> Candidate:
    """Return the candidate that a text shows."""
    outputs = as_object(text)
    outputs = {"answer": text} if outputs is None else outputs
    hidden = {*REASONING_NAMES, "confidence"}
    return Candidate(label, {n: value for n, value in outputs.items() if n not in hidden})


def numbered_candidates(request: ParsedRequest) -> tuple[Candidate, ...]:
    """Return the entries of the input `candidates`; none without such a list."""
    listed = listed_texts(request.inputs.get("candidates", ""))
    return tuple(read_candidate(label, text) for label, text in listed)


def judged_case(request: ParsedRequest, field: str, candidates: Sequence[Candidate]) -> Case | None:
    """Return what the module was asked whose candidates stand in the input `field`."""
    inputs = {name: text for name, text in request.inputs.items() if name != field}
    samples = [str(value) for candidate in candidates for value in candidate.fields.values()]
    return read_case(replace(request, inputs=inputs), samples)


def assess_candidate(mind: Mind, case: Case, candidate: Candidate, skill: str) -> float:
    """Return how good a candidate looks, from about 0 to about 1: its worst field decides."""
    fields = candidate.fields.items()
    return min((_assess(mind, case, name, str(v), skill) for name, v in fields), default=0.0)


def _assess(mind: Mind, case: Case, name: str, text: str, skill: str) -> float:
    """Return how good a field looks beside the model's own solution of the module's item."""
    solution = case.solution
    if name in solution.extras:
        text = solution.right if text == solution.extras[name] else text
    elif is_feedback(name, text) and case.others:
        seeming = mind.assess(solution, case.shown, skill)
        return seeming if read_feedback(text).approves else 1.0 - seeming
    return mind.assess(solution, extract_answer(text, solution.right), skill)
