"""Given a task and an answer, accept it or not."""

from __future__ import annotations

import re

from pipelines.llms.simulated.mind import Mind
from pipelines.llms.simulated.request import OutputField, ParsedRequest
from pipelines.llms.simulated.roles.role import Answer, read_case

_VERDICT = re.compile(r"verdict|accept|approve|valid|^(is_)?(correct|right)", re.IGNORECASE)


class Verify:
    """Accepts what looks more right than wrong to it."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the verdict, where an output asks for a truth value or is called a verdict."""
        asked = [output for output in request.wanted if _asks_verdict(output)]
        case = read_case(request) if asked else None
        if case is None or not case.others:
            return None
        solution = case.solution
        shown = case.shown
        seeming = min(1.0, max(0.0, mind.assess(solution, shown, "verify")))
        accepts = seeming > 0.5
        comment = f"The answer {shown} {'holds up' if accepts else 'does not hold up'}."
        verdicts = {out.name: _worded(accepts, out) for out in asked}
        scores = {out.name: round(seeming, 2) for out in request.wanted if out.type == "float"}
        sure = accepts == (shown == solution.right)
        certainty = max(seeming, 1.0 - seeming)
        return Answer(comment, {**scores, **verdicts}, sure, certainty, comment)


def _asks_verdict(output: OutputField) -> bool:
    return output.type == "bool" or (
        bool(_VERDICT.search(output.name)) and output.type not in ("int", "float")
    )


def _worded(accepts: bool, output: OutputField) -> bool | str:
    """Return a truth value; words where the field is text or a choice."""
    if output.type == "bool":
        return accepts
    for yes, no in (("accept", "reject"), ("correct", "incorrect"), ("right", "wrong")):
        if f"'{no}'" in output.type or f'"{no}"' in output.type:
            return yes if accepts else no
    return "yes" if accepts else "no"
