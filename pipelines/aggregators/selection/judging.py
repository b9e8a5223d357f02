"""Formats candidates for an aggregator's own modules, and interprets their replies."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.aggregators.aggregator import Answer, Members
from pipelines.aggregators.selection.checking import finite


def accepted(members: Members, role: str, answers: Sequence[Answer]) -> list[bool]:
    """Whether a yes-or-no role accepts each answer; where it fails, it does not."""
    replies = members.consult(role, [answer.shown for answer in answers])
    return [bool(verdict and verdict["accepted"]) for verdict in replies]


def scored(members: Members, role: str, answers: Sequence[Answer]) -> list[float | None]:
    """How good a role finds each answer; None where it fails, or its score is not finite."""
    replies = members.consult(role, [answer.shown for answer in answers])
    found = [finite(verdict["score"]) if verdict else None for verdict in replies]
    for verdict, score in zip(replies, found, strict=True):
        if verdict and score is None:
            problem = f"a score must be a finite number, but the {role} said {verdict['score']!r}"
            members.failed("unparsable", problem)
    return found


def numbered(answers: Sequence[Answer]) -> str:
    """All answers, one a line, numbered from 1."""
    lines = (f"[{number}] {answer.shown}" for number, answer in enumerate(answers, start=1))
    return "\n".join(lines)
