"""Given a question and the answers of others, answer: one's own belief against the majority."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from pipelines.llms.simulated.answers import extract_answer, plain, same_answer, same_kind
from pipelines.llms.simulated.mind import Mind
from pipelines.llms.simulated.request import ParsedRequest
from pipelines.llms.simulated.roles.role import Answer, Case, opinions_in, read_case
from pipelines.llms.simulated.solution import Solution

ANCHORED = 0.6
"""Chance to start from the answer given in the round before instead of thinking afresh."""

_OWN = re.compile(r"^(own|my|previous)_", re.IGNORECASE)


class Debate:
    """Persuadable models join the majority; one that is right is harder to turn.

    A model that gave no answer of its own yet, and so is asked to decide, listens more.
    """

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the answer, where the inputs hold an item and somebody's answers to it."""
        case = read_case(request)
        if case is None:
            return None
        solution = case.solution
        earlier = _answers(case, own=True)
        opinions = _answers(case, own=False) or earlier
        if not opinions:
            return None
        start = mind.believe(solution)
        value = start.value
        if earlier and mind.luck("anchored", solution.item) < ANCHORED:
            value = earlier[-1]
        attention = 1.0 if earlier else 1.5
        value = _settle(mind, solution, value, opinions, attention)
        return Answer(value, sure=value == solution.right, confidence=start.confidence)


def _answers(case: Case, own: bool) -> list[str]:
    """Return the answers in the model's own fields, or in those of others."""
    like = case.solution.right
    texts = {name: text for name, text in case.others.items() if bool(_OWN.match(name)) == own}
    stated = (extract_answer(opinion, like) for opinion in opinions_in(texts))
    return [opinion for opinion in stated if same_kind(opinion, like)]


def _settle(
    mind: Mind, solution: Solution, own: str, opinions: Sequence[str], attention: float
) -> str:
    """Return the majority's answer or the model's own; a tie goes to the one given first."""
    votes = Counter(plain(opinion) for opinion in opinions)
    most, count = votes.most_common(1)[0]
    majority = next(opinion for opinion in opinions if plain(opinion) == most)
    if same_answer(majority, own):
        return own
    pull = 0.6 if same_answer(own, solution.right) else 1.25
    switches = mind.model.persuadability * pull * attention * count / len(opinions)
    turned = mind.luck("turned", solution.item, most) < switches
    return majority if turned else own
