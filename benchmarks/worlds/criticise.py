"""Given a task and a draft, say whether it is right and, if able, what it should be."""

from __future__ import annotations

from benchmarks.worlds.case import read_case
from benchmarks.worlds.feedback import names_feedback, shown_in, write_feedback
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, ParsedRequest


def criticise(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Return feedback, where an output field asks for it and there is a draft.

    A critic approves what looks right to it, and names its own answer in two of three corrections.
    """
    asked = [output.name for output in request.wanted if names_feedback(output.name)]
    case = read_case(request) if asked else None
    if case is None or not case.others:
        return None
    solution = case.solution
    draft = shown_in(case)
    approves = mind.assess(solution, draft, "criticise") > 0.5
    own = mind.believe(solution).value
    names_own = own != draft and mind.luck("names its own", solution.item) < 0.67
    key = (mind.model.name, solution.item, draft)
    text = write_feedback(draft, approves, own if names_own else None, *key)
    verdict = {output.name: approves for output in request.wanted if output.type == "bool"}
    right = approves == (draft == solution.right)
    return Answer(text, {**dict.fromkeys(asked, text), **verdict}, sure=right)
