"""The shipped roles that judge, where candidates may be feedback, and where forms are freer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.worlds.feedback import is_feedback, read_feedback, shown_in
from pipelines.providers.simulated import judging
from pipelines.providers.simulated.answers import listed_texts
from pipelines.providers.simulated.judging import (
    Candidate,
    judged_case,
    numbered_candidates,
    read_candidate,
)
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, OutputField, ParsedRequest
from pipelines.providers.simulated.roles import Case, read_case

_VERDICT = re.compile(r"verdict|accept|approve|valid|^(is_)?(correct|right)", re.IGNORECASE)
_SCORE = re.compile(r"^(score|rating|grade|quality)$", re.IGNORECASE)
_CHOICE = re.compile(r"best|choice|winner|index|select|chosen|pick|preferred", re.IGNORECASE)


class ReadsFeedback(judging.Judging):
    """Judges feedback by the draft that it is about."""

    def assess_field(self, mind: Mind, case: Case, name: str, text: str, skill: str) -> float:
        """See `Judging`."""
        solution = case.solution
        if name not in solution.extras and is_feedback(name, text) and case.others:
            seeming = mind.assess(solution, shown_in(case), skill)
            return seeming if read_feedback(text).approves else 1.0 - seeming
        return super().assess_field(mind, case, name, text, skill)


class Diagnose(ReadsFeedback, judging.Diagnose):
    """Rates outputs of any module, critics among them."""


class Verify(ReadsFeedback, judging.Verify):
    """Also asked by other names, for words, and about an answer in any other input."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the verdict, where an output asks for a truth value, a verdict or a score."""
        asked = {out.name: _words(out) for out in request.wanted if _asks_verdict(out)}
        scored = any(out.type == "float" and _SCORE.search(out.name) for out in request.wanted)
        judged = _judged(request) if asked or scored else None
        return self.verdict(request, mind, *judged, asked) if judged else None


class Judge(ReadsFeedback, judging.Judge):
    """Also asked by other names, and about a list in any other input."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        """Return the label of a candidate, where an output asks for a choice."""
        asked = [output.name for output in request.wanted if _CHOICE.search(output.name)]
        if not asked:
            return None
        candidates = numbered_candidates(request)
        if candidates:
            case = judged_case(request, "candidates", candidates)
            if case is None:
                return _guess(mind, asked, candidates)
        else:
            case = read_case(request)
            candidates = _listed_elsewhere(case) if case else ()
        return self.choice(mind, case, candidates, asked) if case and candidates else None


def _judged(request: ParsedRequest) -> tuple[Case, Candidate] | None:
    """Return the item and the answer shown: the input `candidate`, or else the last other one."""
    if "candidate" in request.inputs:
        candidate = read_candidate("1", request.inputs["candidate"])
        case = judged_case(request, "candidate", [candidate])
        if case is not None:
            return case, candidate
    case = read_case(request)
    return (case, Candidate("1", {"": shown_in(case)})) if case and case.others else None


def _asks_verdict(output: OutputField) -> bool:
    named = bool(_VERDICT.search(output.name)) and output.type not in ("int", "float")
    return output.type == "bool" or named


def _words(output: OutputField) -> tuple[bool, bool] | tuple[str, str]:
    """Return yes and no as truth values; as words where the field is text or a choice."""
    if output.type == "bool":
        return True, False
    for yes, no in (("accept", "reject"), ("correct", "incorrect"), ("right", "wrong")):
        if f"'{no}'" in output.type or f'"{no}"' in output.type:
            return yes, no
    return "yes", "no"


def _listed_elsewhere(case: Case) -> tuple[Candidate, ...]:
    """Return the entries of the first other input that is a list."""
    listed = next((found for found in map(listed_texts, case.others.values()) if found), ())
    return tuple(read_candidate(label, text) for label, text in listed)


def _guess(mind: Mind, asked: list[str], candidates: Sequence[Candidate]) -> Answer:
    """Return any label, where the model can make nothing of the task."""
    luck = mind.luck("guess", *(str(candidate.fields) for candidate in candidates))
    label = candidates[int(luck * len(candidates))].label
    return Answer(f"Candidate {label} fits best.", dict.fromkeys(asked, label), sure=False)
