"""Given a task and numbered candidates, write the answer: the best candidate or one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.worlds.debate import LAST_WORD, settle
from benchmarks.worlds.doubt import is_doubt
from benchmarks.worlds.judging import ReadsFeedback
from pipelines.providers.simulated.answers import plain, same_answer, same_kind
from pipelines.providers.simulated.judging import (
    Candidate,
    judged_case,
    numbered_candidates,
)
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, ParsedRequest
from pipelines.providers.simulated.roles import Case

SUPPORT = 0.3
"""How much better a candidate looks that all give."""


class Arbitrate(ReadsFeedback):
    """Favours what looks best to it and what many say, and may be turned from its own belief."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the answer, where an output field is one of those that the candidates have."""
        names = {output.name for output in request.wanted}
        shown = [each for each in numbered_candidates(request) if names & set(each.fields)]
        if not shown:
            return None
        case = judged_case(request, "candidates", shown)
        return _most_given(shown) if case is None else self._decide(mind, case, shown)

    def _decide(self, mind: Mind, case: Case, candidates: Sequence[Candidate]) -> Answer:
        """Return the model's own answer, or the candidate that it favours if it lets itself turn.

        The less sure it is of its own answer, the more it listens.
        """
        solution, belief = case.solution, mind.believe(case.solution)
        said = [(each, each.value(solution)) for each in candidates]
        said = [(each, value) for each, value in said if not is_doubt(value)]
        if not said:
            return _own_answer(case, belief.value, belief.confidence)
        votes = Counter(plain(value) for _, value in said)
        shares = [votes[plain(value)] / len(said) for _, value in said]
        looks = [
            self.assess(mind, case, each, "judge") + SUPPORT * share
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
        return Answer(value, favourite.fields, sure, belief.confidence)


def _most_given(candidates: Sequence[Candidate]) -> Answer:
    """Return what most say, where the model can make nothing of the task."""
    said = [repr(sorted(each.fields.items())) for each in candidates]
    fields = candidates[said.index(Counter(said).most_common(1)[0][0])].fields
    return Answer(next(iter(fields.values())), fields, sure=False)


def _own_answer(case: Case, value: str, confidence: float) -> Answer:
    right = value == case.solution.right
    return Answer(value, case.solution.extras if right else {}, right, confidence)
