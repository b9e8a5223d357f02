"""The shipped roles that judge, where candidates may be feedback, and where forms are freer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmarks.worlds.case import Case, read_case
from benchmarks.worlds.feedback import is_feedback, read_feedback, shown_in
from pipelines.providers.simulated.judging import (
    Candidate,
    answer_in,
    choose,
    looks,
    module_request,
    numbered_candidates,
    rate,
    read_candidate,
    values_of,
    verdict,
    without,
)
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, OutputField, ParsedRequest, listed_texts

_VERDICT = re.compile(r"verdict|accept|approve|valid|^(is_)?(correct|right)", re.IGNORECASE)
_SCORE = re.compile(r"^(score|rating|grade|quality)$", re.IGNORECASE)
_CHOICE = re.compile(r"best|choice|winner|index|select|chosen|pick|preferred", re.IGNORECASE)


def assess(mind: Mind, case: Case, candidate: Candidate, skill: str) -> float:
    """Return how good a candidate looks; feedback is judged by the draft that it is about."""
    solution = case.solution
    notes = {
        name: str(text)
        for name, text in candidate.items()
        if name not in solution.extras and is_feedback(name, str(text)) and case.others
    }
    rest = {name: text for name, text in candidate.items() if name not in notes}
    found = [looks(mind, solution, rest, skill)] if rest or not notes else []
    for text in notes.values():
        seeming = mind.assess(solution, shown_in(case), skill)
        found.append(seeming if read_feedback(text).approves else 1.0 - seeming)
    return min(found)


def diagnose(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Rate outputs of any module, critics among them."""
    if "candidates" not in request.inputs:
        return None
    case = read_case(module_request(request), values_of(numbered_candidates(request)))
    return rate(
        request, mind,
        lambda each: assess(mind, case, each, "diagnose") if case else looks(mind, None, each, ""),
    )  # fmt: skip


def verify(request: ParsedRequest, mind: Mind) -> Answer | None:
    """As the shipped one; asked by other names and for words, about an answer in any input."""
    asked = {out.name: _words(out) for out in request.wanted if _asks_verdict(out)}
    scored = any(out.type == "float" and _SCORE.search(out.name) for out in request.wanted)
    judged = _judged(request) if asked or scored else None
    if judged is None:
        return None
    case, candidate = judged
    seeming = assess(mind, case, candidate, "verify")
    return verdict(request, case.solution, answer_in(candidate, case.solution), seeming, asked)


def judge(request: ParsedRequest, mind: Mind) -> Answer | None:
    """As the shipped one; asked by other names, and about a list in any other input."""
    asked = [output.name for output in request.wanted if _CHOICE.search(output.name)]
    if not asked:
        return None
    candidates = numbered_candidates(request)
    if candidates:
        case = read_case(without(request, "candidates"), values_of(candidates))
        if case is None:
            return _guess(mind, asked, candidates)
    else:
        case = read_case(request)
        candidates = _listed_elsewhere(case) if case else {}
    if case is None or not candidates:
        return None
    seeming = {label: assess(mind, case, each, "judge") for label, each in candidates.items()}
    return choose(asked, candidates, case.solution, seeming)


def _judged(request: ParsedRequest) -> tuple[Case, Candidate] | None:
    """Return the item and the answer shown: the input `candidate`, or else the last other one."""
    if "candidate" in request.inputs:
        candidate = read_candidate(request.inputs["candidate"])
        case = read_case(without(request, "candidate"), values_of({"": candidate}))
        if case is not None:
            return case, candidate
    case = read_case(request)
    return (case, {"": shown_in(case)}) if case and case.others else None


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


def _listed_elsewhere(case: Case) -> dict[str, Candidate]:
    """Return the entries of the first other input that is a list."""
    listed = next((found for found in map(listed_texts, case.others.values()) if found), ())
    return {label: read_candidate(text) for label, text in listed}


def _guess(mind: Mind, asked: Sequence[str], candidates: Mapping[str, Candidate]) -> Answer:
    """Return any label, where the model can make nothing of the task."""
    luck = mind.luck("guess", *(str(candidate) for candidate in candidates.values()))
    label = list(candidates)[int(luck * len(candidates))]
    return Answer(f"Candidate {label} fits best.", dict.fromkeys(asked, label), sure=False)
