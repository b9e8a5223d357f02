"""Given a task and numbered candidates, pick the best one by its number."""

from __future__ import annotations

import re

from pipelines.llms.simulated.answers import extract_answer, listed_texts, main_text
from pipelines.llms.simulated.mind import Mind
from pipelines.llms.simulated.request import ParsedRequest
from pipelines.llms.simulated.roles.role import Answer, read_case

_CHOICE = re.compile(r"best|choice|winner|index|select|chosen|pick|preferred", re.IGNORECASE)


class Judge:
    """Picks the candidate that looks best to it, the first one where two look alike."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the label of a candidate, where an output asks for a choice."""
        asked = [output.name for output in request.wanted if _CHOICE.search(output.name)]
        case = read_case(request) if asked else None
        if case is None:
            return None
        candidates = next((c for c in map(listed_texts, case.others.values()) if c), ())
        if not candidates:
            return None
        solution = case.solution
        values = [extract_answer(main_text(text), solution.right) for _, text in candidates]
        ratings = [mind.assess(solution, value, "judge") for value in values]
        best = ratings.index(max(ratings))
        label, sure = candidates[best][0], values[best] == solution.right
        comment = f"Candidate {label} answers {values[best]}, which fits best."
        return Answer(comment, dict.fromkeys(asked, label), sure, ratings[best], comment)
