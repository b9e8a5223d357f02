"""How an aggregator's own modules are shown candidates, and how they are understood."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipelines.aggregators.aggregator import Answer, Members


def accepted(members: Members, role: str, answers: Sequence[Answer]) -> list[bool]:
    """Whether a yes-or-no role accepts each answer; where it fails, it does not."""
    said = members.consult(role, [shown(answer) for answer in answers])
    return [bool(verdict and verdict["accepted"]) for verdict in said]


def scored(members: Members, role: str, answers: Sequence[Answer]) -> list[Any]:
    """How good a role finds each answer; None where it fails."""
    said = members.consult(role, [shown(answer) for answer in answers])
    return [verdict and verdict["score"] for verdict in said]


def numbered(answers: Sequence[Answer]) -> str:
    """All answers, one a line, numbered from 1."""
    lines = (f"[{number}] {shown(answer)}" for number, answer in enumerate(answers, start=1))
    return "\n".join(lines)


def shown(answer: Answer) -> str:
    """The answer's fields as JSON."""
    return json.dumps(dict(answer.record), ensure_ascii=False, default=str)
