"""Given a question and the answers of others, answer: one's own belief against the majority."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from benchmarks.worlds.case import Case, opinions_in, read_case
from benchmarks.worlds.doubt import is_doubt
from benchmarks.worlds.models import persuadability
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import (
    Answer,
    ParsedRequest,
    extract_answer,
    plain,
    same_answer,
    same_kind,
)
from pipelines.providers.simulated.tasks import Solution

ANCHORED = 0.6
"""Chance to start from the answer given in the round before instead of thinking afresh."""

LAST_WORD = 1.5
"""How much more one listens who is asked to decide."""

_OWN = re.compile(r"^(own|my|previous)_", re.IGNORECASE)


def debate(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Return the answer, where the inputs hold an item and somebody's answers to it.

    Persuadable models join the majority; one that is right is harder to turn. A model that gave no
    answer of its own yet, and so is asked to decide, listens more.
    """
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
    favourite, share = _majority(opinions)
    attention = 1.0 if earlier else LAST_WORD
    value = settle(mind, solution, value, favourite, attention * share)
    return Answer(value, sure=value == solution.right, confidence=start.confidence)


def _answers(case: Case, own: bool) -> list[str]:
    """Return the answers in the model's own fields, or in those of others."""
    like = case.solution.right
    texts = {name: text for name, text in case.others.items() if bool(_OWN.match(name)) == own}
    stated = (extract_answer(opinion, like) for opinion in opinions_in(texts))
    return [each for each in stated if same_kind(each, like) and not is_doubt(each)]


def _majority(opinions: Sequence[str]) -> tuple[str, float]:
    """Return the answer given most and its share; a tie goes to the one given first."""
    votes = Counter(plain(opinion) for opinion in opinions)
    most, count = votes.most_common(1)[0]
    return next(each for each in opinions if plain(each) == most), count / len(opinions)


def settle(mind: Mind, solution: Solution, own: str, other: str, weight: float) -> str:
    """Return another's answer or the model's own; one that is right is harder to turn.

    `weight` says how much the other answer counts: the share of those who give it, or more.
    """
    if same_answer(other, own):
        return own
    pull = 0.6 if same_answer(own, solution.right) else 1.25
    switches = persuadability(mind) * pull * weight
    turned = mind.luck("turned", solution.item, plain(other)) < switches
    return other if turned else own
