"""Given a task and an answer, accept it or not, or say how good it is."""

from __future__ import annotations

import re

from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import OutputField, ParsedRequest
from pipelines.providers.simulated.roles.candidates import (
    Candidate,
    assess_candidate,
    judged_case,
    read_candidate,
)
from pipelines.providers.simulated.roles.role import Answer, Case, read_case

_VERDICT = re.compile(r"verdict|accept|approve|valid|^(is_)?(correct|right)", re.IGNORECASE)
_SCORE = re.compile(r"^(score|rating|grade|quality)$", re.IGNORECASE)


class Verify:
    """Accepts what looks more right than wrong to it; scores are graded, from 0 to 1."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the verdict, where an output asks for a truth value, a verdict or a score."""
        asked = [output for output in request.wanted if _asks_verdict(output)]
        if not asked and not any(_asks_score(output) for output in request.wanted):
            return None
        judged = _judged(request)
        if judged is None:
            return None
        case, candidate = judged
        solution, shown = case.solution, candidate.value(case.solution)
        seeming = min(1.0, max(0.0, assess_candidate(mind, case, candidate, "verify")))
        accepts = seeming > 0.5
        comment = f"The answer {shown} {'holds up' if accepts else 'does not hold up'}."
        verdicts = {out.name: _worded(accepts, out) for out in asked}
        scores = {out.name: round(seeming, 2) for out in request.wanted if out.type == "float"}
        sure = accepts == (shown == solution.right)
        certainty = max(seeming, 1.0 - seeming)
        return Answer(comment, {**scores, **verdicts}, sure, certainty, comment)


def _judged(request: ParsedRequest) -> tuple[Case, Candidate] | None:
    """Return the item and the answer shown: the input `candidate`, or else the last other one."""
    if "candidate" in request.inputs:
        candidate = read_candidate("1", request.inputs["candidate"])
        case = judged_case(request, "candidate", [candidate])
        if case is not None:
            return case, candidate
    case = read_case(request)
    return (case, Candidate("1", {"": case.shown})) if case and case.others else None


def _asks_verdict(output: OutputField) -> bool:
    return output.type == "bool" or (
        bool(_VERDICT.search(output.name)) and output.type not in ("int", "float")
    )


def _asks_score(output: OutputField) -> bool:
    return output.type == "float" and bool(_SCORE.search(output.name))


def _worded(accepts: bool, output: OutputField) -> bool | str:
    """Return a truth value; words where the field is text or a choice."""
    if output.type == "bool":
        return accepts
    for yes, no in (("accept", "reject"), ("correct", "incorrect"), ("right", "wrong")):
        if f"'{no}'" in output.type or f'"{no}"' in output.type:
            return yes if accepts else no
    return "yes" if accepts else "no"
