"""Given a task and numbered candidates, pick the best one by its number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.providers.simulated.answers import listed_texts
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.roles.candidates import (
    Candidate,
    assess_candidate,
    judged_case,
    numbered_candidates,
    read_candidate,
)
from pipelines.providers.simulated.roles.role import Answer, Case, read_case

_CHOICE = re.compile(r"best|choice|winner|index|select|chosen|pick|preferred", re.IGNORECASE)


class Judge:
    """Picks the candidate that looks best to it, the first one where two look alike."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the label of a candidate, where an output asks for a choice."""
        asked = [output.name for output in request.wanted if _CHOICE.search(output.name)]
        if not asked:
            return None
        candidates = numbered_candidates(request)
        if candidates:
            case = judged_case(request, "candidates", candidates)
            return _pick(mind, asked, case, candidates) if case else _guess(mind, asked, candidates)
        case = read_case(request)
        listed = _listed_elsewhere(case) if case else ()
        return _pick(mind, asked, case, listed) if case and listed else None


def _listed_elsewhere(case: Case) -> tuple[Candidate, ...]:
    """Return the entries of the first other input that is a list."""
    listed = next((found for found in map(listed_texts, case.others.values()) if found), ())
    return tuple(read_candidate(label, text) for label, text in listed)


def _pick(mind: Mind, asked: list[str], case: Case, candidates: Sequence[Candidate]) -> Answer:
    ratings = [assess_candidate(mind, case, candidate, "judge") for candidate in candidates]
    best = ratings.index(max(ratings))
    label, value = candidates[best].label, candidates[best].value(case.solution)
    comment = f"Candidate {label} answers {value}, which fits best."
    sure = value == case.solution.right
    return Answer(comment, dict.fromkeys(asked, label), sure, ratings[best], comment)


def _guess(mind: Mind, asked: list[str], candidates: Sequence[Candidate]) -> Answer:
    """Return any label, where the model can make nothing of the task."""
    luck = mind.luck("guess", *(str(candidate.fields) for candidate in candidates))
    label = candidates[int(luck * len(candidates))].label
    return Answer(f"Candidate {label} fits best.", dict.fromkeys(asked, label), sure=False)
