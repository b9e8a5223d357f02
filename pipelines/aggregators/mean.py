"""The mean of numbers."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Record,
    Verdict,
    everyone,
)
from pipelines.aggregators.normalising import normalised

CLOSE = 0.05
"""Members whose numbers are at most this share away from the outcome agree with it."""

Numbers = Mapping[str, float]
"""The number in each field that holds one."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Mean(Aggregator):
    """The mean of each number field; other fields, and the reasoning, are the closest member's.

    A number field is one in which most of those who give any number give one; members without a
    number there abstain. Where all numbers of a field are whole, so is the outcome.
    """

    def aggregate(self, members: Members) -> Verdict | None:
        """The mean."""
        return combined(members, statistics.fmean)


def combined(members: Members, combine: Callable[[Sequence[float]], float]) -> Verdict | None:
    """One number made of all members' in each field; None if nobody gave a number."""
    answers = members.ask(everyone(members))
    read = [_numbers(answer.record) for answer in answers]
    fields = _number_fields(read)
    given = [(a, n) for a, n in zip(answers, read, strict=True) if fields and fields <= n.keys()]
    if not given:
        members.failed("unparsable", "no member gave a number")
        return None
    outcome = {f: _like([n[f] for _, n in given], combine) for f in sorted(fields)}
    closest, _ = min(given, key=lambda pair: _distance(pair[1], outcome))
    agreeing = sum(_distance(numbers, outcome) <= CLOSE for _, numbers in given)
    record = {**closest.record, **{f: _written(closest.record[f], v) for f, v in outcome.items()}}
    return Verdict(Answer(closest.member, record), agreeing / len(members.models))


def _number_fields(read: Sequence[Numbers]) -> set[str]:
    """Those with a number in more than half as many answers as give one anywhere."""
    counts = Counter(field for numbers in read for field in numbers)
    return {field for field, count in counts.items() if 2 * count > sum(map(bool, read))}


def _numbers(record: Record) -> dict[str, float]:
    """The fields that are numbers."""
    read = {field: _number(value) for field, value in record.items()}
    return {field: number for field, number in read.items() if number is not None}


def _number(value: object) -> float | None:
    try:
        number = float(normalised(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _like(values: Sequence[float], combine: Callable[[Sequence[float]], float]) -> float:
    outcome = combine(values)
    return float(round(outcome)) if all(v.is_integer() for v in values) else outcome


def _written(as_given: object, value: float) -> object:
    """The number in the type in which the member gave its own."""
    number = int(value) if value.is_integer() and not isinstance(as_given, float) else value
    return str(number) if isinstance(as_given, str) else number


def _distance(numbers: Numbers, outcome: Numbers) -> float:
    """How far off the worst field is, relative to the outcome."""
    return max(abs(numbers[f] - v) / max(abs(v), 1e-12) for f, v in outcome.items())
