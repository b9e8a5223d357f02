"""Plain solving: the model answers with what it believes."""

from __future__ import annotations

from pipelines.llms.simulated.mind import Mind
from pipelines.llms.simulated.request import ParsedRequest
from pipelines.llms.simulated.roles.role import Answer, read_case


class Solve:
    """Answers the task that the inputs hold."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the belief about the item in the inputs."""
        case = read_case(request)
        if case is None:
            return None
        belief = mind.believe(case.solution)
        extras = case.solution.extras if belief.right else {}
        return Answer(belief.value, extras, sure=belief.right, confidence=belief.confidence)
