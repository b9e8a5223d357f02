"""Rate the candidate outputs of one module of a pipeline, 0 to 10 each.

A candidate whose fields appear in the desired final answer is compared with it, which is easy
(skill `compare`). Otherwise the model has to solve the module's item itself (skill `diagnose`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.providers.simulated.answers import as_object, extract_answer, same_answer
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.roles.candidates import (
    Candidate,
    assess_candidate,
    numbered_candidates,
)
from pipelines.providers.simulated.roles.role import Answer, Case, read_case


class Diagnose:
    """Rates by its own lights; it rates its own mistakes high."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return one rating per candidate, where a list called `ratings` is asked for."""
        asked = [o.name for o in request.wanted if "rating" in o.name and "list" in o.type]
        candidates = numbered_candidates(request)
        if not asked or not candidates:
            return None
        samples = [str(value) for each in candidates for value in each.fields.values()]
        case = read_case(_module_request(request), samples)
        desired = as_object(request.inputs.get("desired_final_answer", "")) or {}
        ratings = [_rate(mind, case, candidate, desired) for candidate in candidates]
        shown = [round(10 * min(1.0, max(0.0, rating))) for rating in ratings]
        worst = candidates[shown.index(min(shown))].label
        comment = f"Candidate {worst} fits what the module received least."
        return Answer(comment, dict.fromkeys(asked, shown), comment=comment)


def _module_request(request: ParsedRequest) -> ParsedRequest:
    """Return what the module under judgement was asked."""
    inputs = {"inputs": request.inputs.get("inputs", "")}
    return ParsedRequest(request.inputs.get("module", ""), inputs, ())


def _rate(mind: Mind, case: Case | None, candidate: Candidate, desired: Mapping[str, Any]) -> float:
    """Return how good a candidate looks: its worst field decides."""
    outputs = candidate.fields
    shared = [name for name in outputs if name in desired]
    if shared:
        return min(_compared(mind, str(outputs[n]), str(desired[n])) for n in shared)
    if case is None:
        return 0.5 + 0.2 * mind.latent("no idea", *map(str, outputs.values()))
    return assess_candidate(mind, case, candidate, "diagnose")


def _compared(mind: Mind, value: str, desired: str) -> float:
    """Return the rating against the desired answer, now and then misread."""
    equal = same_answer(extract_answer(value, desired), desired)
    if not mind.passes("compare", repr((value, desired))):
        equal = not equal
    return (0.93 if equal else 0.07) + 0.05 * mind.latent("rating", value, desired)
