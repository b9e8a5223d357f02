"""Doubt: a model that more likely gets an item wrong than right may say that it does not know."""

from __future__ import annotations

from benchmarks.worlds.models import SimulatedModel
from pipelines.providers.simulated.answers import plain
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, ParsedRequest
from pipelines.providers.simulated.roles import read_case

DOUBT = "I don't know"
"""What a model answers that would rather not guess."""


class Doubt:
    """Answers that the model does not know; most models never do."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the doubt; fields that can't say so hold the model's guess."""
        model = mind.model
        if not isinstance(model, SimulatedModel) or not model.admits_doubt:
            return None
        case = read_case(request)
        if case is None:
            return None
        belief, item = mind.believe(case.solution), case.solution.item
        if belief.confidence >= 0.5 or mind.luck("doubts", item) >= model.admits_doubt:
            return None
        texts = ("str", "bool")
        guesses = {o.name: belief.value for o in request.wanted if o.type not in texts}
        guesses.pop("confidence", None)
        return Answer(DOUBT, guesses, confidence=belief.confidence, comment=f"{DOUBT}.")


def is_doubt(text: str) -> bool:
    """Return whether somebody says that they do not know."""
    return plain(text) == plain(DOUBT)
