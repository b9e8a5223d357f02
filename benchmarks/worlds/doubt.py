"""Doubt: a model that more likely gets an item wrong than right may say that it does not know."""

from __future__ import annotations

from benchmarks.worlds.case import read_case
from benchmarks.worlds.models import SimulatedModel
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, ParsedRequest, plain

DOUBT = "I don't know"
"""What a model answers that would rather not guess."""


def doubt(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Return the doubt, which most models never have; other fields hold the model's guess."""
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
