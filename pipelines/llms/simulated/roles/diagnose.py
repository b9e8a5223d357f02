"""Rate the candidate outputs of one module of a pipeline, 0 to 10 each.

A candidate whose fields appear in the desired final answer is compared with it, which is easy
(skill `compare`). Otherwise the model has to solve the module's item itself (skill `diagnose`).
"""

from __future__ import annotations

from typing import Any

from pipelines.llms.simulated.answers import (
    REASONING_NAMES,
    as_object,
    extract_answer,
    listed_texts,
    same_answer,
)
from pipelines.llms.simulated.mind import Mind
from pipelines.llms.simulated.request import ParsedRequest
from pipelines.llms.simulated.roles.feedback import is_feedback, read_feedback
from pipelines.llms.simulated.roles.role import Answer, Case, read_case


class Diagnose:
    """Rates by its own lights; it rates its own mistakes high."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return one rating per candidate, where a list called `ratings` is asked for."""
        asked = [o.name for o in request.wanted if "rating" in o.name and "list" in o.type]
        candidates = listed_texts(request.inputs.get("candidates", ""))
        if not asked or not candidates:
            return None
        seen = [_fields(text) for _, text in candidates]
        case = read_case(_module_request(request), [str(v) for out in seen for v in out.values()])
        desired = as_object(request.inputs.get("desired_final_answer", "")) or {}
        ratings = [_rate(mind, case, outputs, desired) for outputs in seen]
        shown = [round(10 * min(1.0, max(0.0, rating))) for rating in ratings]
        worst = candidates[shown.index(min(shown))][0]
        comment = f"Candidate {worst} fits what the module received least."
        return Answer(comment, dict.fromkeys(asked, shown), comment=comment)


def _module_request(request: ParsedRequest) -> ParsedRequest:
    """Return what the module under judgement was asked."""
    inputs = {"inputs": request.inputs.get("inputs", "")}
    return ParsedRequest(request.inputs.get("module", ""), inputs, ())


def _fields(text: str) -> dict[str, Any]:
    outputs = as_object(text)
    outputs = {"answer": text} if outputs is None else outputs
    return {
        name: value
        for name, value in outputs.items()
        if name not in {*REASONING_NAMES, "confidence"}
    }


def _rate(mind: Mind, case: Case | None, outputs: dict[str, Any], desired: dict[str, Any]) -> float:
    """Return how good a candidate looks: its worst field decides."""
    shared = [name for name in outputs if name in desired]
    if shared:
        return min(_compared(mind, str(outputs[n]), str(desired[n])) for n in shared)
    texts = {name: str(value) for name, value in outputs.items()}
    if case is None:
        return 0.5 + 0.2 * mind.latent("no idea", *texts.values())
    return min((_assessed(mind, case, name, text) for name, text in texts.items()), default=0.0)


def _compared(mind: Mind, value: str, desired: str) -> float:
    """Return the rating against the desired answer, now and then misread."""
    equal = same_answer(extract_answer(value, desired), desired)
    if not mind.passes("compare", repr((value, desired))):
        equal = not equal
    return (0.93 if equal else 0.07) + 0.05 * mind.latent("rating", value, desired)


def _assessed(mind: Mind, case: Case, name: str, text: str) -> float:
    """Return the rating against the model's own solution of the module's item."""
    solution = case.solution
    if name in solution.extras:
        text = solution.right if text == solution.extras[name] else text
    elif is_feedback(name, text) and case.others:
        seeming = mind.assess(solution, case.shown, "diagnose")
        return seeming if read_feedback(text).approves else 1.0 - seeming
    return mind.assess(solution, extract_answer(text, solution.right), "diagnose")
