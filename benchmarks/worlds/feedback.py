"""Feedback in words: how a critic writes it, and how a reader takes it."""

from __future__ import annotations

import re
from typing import NamedTuple

from benchmarks.worlds.case import Case, main_text
from pipelines.providers.simulated.draws import pick
from pipelines.providers.simulated.request import extract_answer

_RIGHT = re.compile(
    r"\b(?:is|looks|seems|are) (?:fully |quite )?(?:correct|right|fine|good)\b", re.I
)
_WRONG = re.compile(
    r"\b(?:wrong|incorrect|mistaken|an error|a mistake|not (?:correct|right))\b", re.IGNORECASE
)
_SUGGESTION = re.compile(
    r"\b(?:should be|I get|answer is|expected|correct (?:answer|result|one) is):? "
    r"(?:\"(.+?)\"|(\S+?)[.,;]?(?:\s|$))",
    re.IGNORECASE,
)
_NAME = re.compile(r"feedback|critique|criticism|review|comment", re.IGNORECASE)
_APPROVALS = (
    "The answer {draft} is correct; keep it.",
    "I went through the task again: {draft} looks correct.",
    "No change needed, {draft} is right.",
)
_DOUBTS = (
    "The answer {draft} looks wrong. Go through the task once more.",
    "There is a mistake somewhere in {draft}; please do it again with care.",
)
_CORRECTIONS = (
    'The answer {draft} is wrong. Doing the task again, I get "{own}".',
    'There is a mistake in {draft}: it should be "{own}".',
)


class Feedback(NamedTuple):
    """What a reader takes from feedback."""

    approves: bool | None
    """None where the feedback does not say."""
    suggestion: str | None
    """The answer that the feedback gives instead."""


def write_feedback(draft: str, approves: bool, own: str | None, *key: object) -> str:
    """Return feedback on a draft; `own` is what the critic would answer, where it says so."""
    forms = _APPROVALS if approves else _CORRECTIONS if own else _DOUBTS
    return pick(forms, "feedback", *key).format(draft=draft, own=own)


def read_feedback(text: str) -> Feedback:
    """Return what the text says about a draft."""
    wrong, right = _WRONG.search(text), _RIGHT.search(text)
    found = _SUGGESTION.search(text)
    suggestion = (found[1] or found[2]) if found else None
    approves = False if wrong or (suggestion and not right) else True if right else None
    return Feedback(approves, None if approves else suggestion)


def is_feedback(name: str, text: str) -> bool:
    """Return whether a field holds feedback, by its text or else by its name."""
    return read_feedback(text).approves is not None or bool(_NAME.search(name))


def shown_in(case: Case) -> str:
    """Return the answer under discussion: what the last of the other fields says."""
    return extract_answer(main_text(list(case.others.values())[-1]), case.solution.right)


def names_feedback(name: str) -> bool:
    """Return whether an output field of that name asks for feedback."""
    return bool(_NAME.search(name))
