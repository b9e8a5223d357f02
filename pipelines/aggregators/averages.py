"""The mean and the median of numbers."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Record,
    Verdict,
    everyone,
    validated,
)
from pipelines.aggregators.normalising import normalised

CLOSE = 0.05
"""Members whose numbers are at most this share away from the outcome agree with it."""

_LEAST = Fraction(1, 10**12)

Numbers = Mapping[str, Fraction]
"""The number in each field that holds one, exact: the mean of 0.1 and 0.2 is 0.15."""


@validated
class Mean(Aggregator):
    """The mean of each number field; other fields, and the reasoning, are the closest member's.

    A number field is one in which most of those who give any number give one; members without a
    number there abstain, which is noted if they say anything. Where all numbers of a field are
    whole, so is the outcome.
    """

    def aggregate(self, members: Members) -> Verdict | None:
        return combined(members, statistics.mean)


@validated
class Median(Aggregator):
    """The median of each number field, which outliers don't move; everything else as in `mean`."""

    def aggregate(self, members: Members) -> Verdict | None:
        return combined(members, statistics.median)


def combined(members: Members, combine: Callable[[Sequence[Fraction]], Fraction]) -> Verdict | None:
    """One number in each field, made of all members'; None if no member gave any."""
    answers = members.ask(everyone(members))
    read = [_numbers(answer.record) for answer in answers]
    counts = Counter(field for numbers in read for field in numbers)
    fields = {field for field, count in counts.items() if 2 * count > sum(map(bool, read))}
    given = [(a, n) for a, n in zip(answers, read, strict=True) if fields and fields <= n.keys()]
    if not given:
        members.failed("unparsable", "no member gave a number")
        return None
    for answer, numbers in zip(answers, read, strict=True):
        if not fields <= numbers.keys() and not answer.empty:
            members.failed("unparsable", f"no number: {answer.shown}")
    outcome = {}
    for field in sorted(fields):
        values = [numbers[field] for _, numbers in given]
        whole = all(value.denominator == 1 for value in values)
        outcome[field] = Fraction(round(combine(values))) if whole else combine(values)
    closest, _ = min(given, key=lambda pair: _distance(pair[1], outcome))
    agreeing = sum(_distance(numbers, outcome) <= CLOSE for _, numbers in given)
    record = {**closest.record, **{f: _written(closest.record[f], v) for f, v in outcome.items()}}
    return Verdict(Answer(closest.member, record), agreeing / len(members.models))


def _numbers(record: Record) -> dict[str, Fraction]:
    """The fields that are numbers."""
    read = {field: _number(value) for field, value in record.items()}
    return {field: number for field, number in read.items() if number is not None}


def _number(value: object) -> Fraction | None:
    text = normalised(value)
    try:
        number = float(text)
        if not math.isfinite(number):
            return None
        return Fraction(repr(number) if "e" in text else text)  # 1e-99999999 as it stands is huge
    except ValueError:
        return None


def _written(as_given: object, value: Fraction) -> object:
    """The number in the type of the member's own."""
    whole = value.denominator == 1 and not isinstance(as_given, float)
    number = int(value) if whole else float(value)
    return str(number) if isinstance(as_given, str) else number


def _distance(numbers: Numbers, outcome: Numbers) -> Fraction:
    """How far off the worst field is, relative to the outcome."""
    return max(abs(numbers[f] - v) / max(abs(v), _LEAST) for f, v in outcome.items())
