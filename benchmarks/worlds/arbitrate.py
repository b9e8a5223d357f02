"""Given a task and numbered candidates, write the answer: the best candidate or one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.worlds.case import Case, read_case
from benchmarks.worlds.debate import LAST_WORD, settle
from benchmarks.worlds.doubt import is_doubt
from benchmarks.worlds.judging import assess
from pipelines.providers.simulated.judging import (
    Candidate,
    answer_in,
    numbered_candidates,
    values_of,
    without,
)
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import (
    Answer,
    ParsedRequest,
    plain,
    same_answer,
    same_kind,
)

SUPPORT = 0.3
"""How much better a candidate looks that all give."""


def arbitrate(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Favour what looks best and what many say, where an output is a field of the candidates."""
    names = {output.name for output in request.wanted}
    listed = numbered_candidates(request)
    shown = {label: each for label, each in listed.items() if names & set(each)}
    if not shown:
        return None
    case = read_case(without(request, "candidates"), values_of(shown))
    candidates = list(shown.values())
    return _most_given(candidates) if case is None else _decide(mind, case, candidates)


def _decide(mind: Mind, case: Case, candidates: Sequence[Candidate]) -> Answer:
    """Return the model's own answer, or the candidate that it favours if it lets itself turn.

    The less sure it is of its own answer, the more it listens.
    """
    solution, belief = case.solution, mind.believe(case.solution)
    said = [(each, answer_in(each, solution)) for each in candidates]
    said = [(each, value) for each, value in said if not is_doubt(value)]
    if not said:
        return _own_answer(case, belief.value, belief.confidence)
    votes = Counter(plain(value) for _, value in said)
    shares = [votes[plain(value)] / len(said) for _, value in said]
    looks = [
        assess(mind, case, each, "judge") + SUPPORT * share
        for (each, _), share in zip(said, shares, strict=True)
    ]
    best = looks.index(max(looks))
    favourite, value = said[best]
    if same_kind(value, solution.right):
        weight = LAST_WORD * shares[best] * (1.5 - belief.confidence)
        settled = settle(mind, solution, belief.value, value, weight)
        if not same_answer(settled, value):
            return _own_answer(case, settled, belief.confidence)
    sure = same_answer(value, solution.right)
    return Answer(value, favourite, sure, belief.confidence)


def _most_given(candidates: Sequence[Candidate]) -> Answer:
    """Return what most say, where the model can make nothing of the task."""
    said = [repr(sorted(each.items())) for each in candidates]
    fields = candidates[said.index(Counter(said).most_common(1)[0][0])]
    return Answer(next(iter(fields.values())), fields, sure=False)


def _own_answer(case: Case, value: str, confidence: float) -> Answer:
    right = value == case.solution.right
    return Answer(value, case.solution.extras if right else {}, right, confidence)
