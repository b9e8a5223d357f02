"""Plain solving: the model answers with what it believes, or says that it does not know."""

from __future__ import annotations

from pipelines.providers.simulated.answers import DOUBT
from pipelines.providers.simulated.mind import Belief, Mind
from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.roles.role import Answer, read_case


class Solve:
    """Answers the task that the inputs hold."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the belief about the item in the inputs."""
        case = read_case(request)
        if case is None:
            return None
        belief = mind.believe(case.solution)
        if mind.doubts(belief):
            return _doubting(belief, request)
        extras = case.solution.extras if belief.right else {}
        return Answer(belief.value, extras, sure=belief.right, confidence=belief.confidence)


def _doubting(belief: Belief, request: ParsedRequest) -> Answer:
    """Return that the model does not know; fields that can't say so hold its guess."""
    texts = ("str", "bool")
    guesses = {o.name: belief.value for o in request.wanted if o.type not in texts}
    guesses.pop("confidence", None)
    return Answer(DOUBT, guesses, confidence=belief.confidence, comment=f"{DOUBT}.")
