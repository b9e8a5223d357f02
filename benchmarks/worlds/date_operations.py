"""Operations on dates, which are written as 2031-03-05."""

from __future__ import annotations

import re
from datetime import date, timedelta

from benchmarks.worlds.operation import Operation, Outcome, first_number, operation
from benchmarks.worlds.slips import date_slips

_ISO = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


@operation(
    "add_days",
    r"\bdays? after (\d{4}-\d{2}-\d{2})\b",
    "Give the date that is that many days after 2000-01-01, in the form YYYY-MM-DD.",
)
def add_days(text: str, parameters: tuple[str, ...]) -> Outcome | None:
    """45 days after 2024-01-01 -> 2024-02-15."""
    start, days = _date(parameters[0]), first_number(_ISO.sub("", text))
    if start is None or days is None:
        return None
    try:
        end = start + timedelta(days=days)
    except OverflowError:
        return None
    return Outcome(end.isoformat(), date_slips(end))


@operation(
    "date_words",
    r"\b(?:write|spell) (?:out )?the date (?:out|in words)\b",
    "Write the date out, such as 5 March 2031.",
)
def date_words(text: str, _: tuple[str, ...]) -> Outcome | None:
    """2031-03-05 -> 5 March 2031."""
    match = _ISO.search(text)
    day = _date(match[0]) if match else None
    if day is None:
        return None
    swapped = date(day.year, day.day, day.month) if day.day <= 12 else day
    slips = (_written(slip) for text in date_slips(day) if (slip := _date(text)))
    return Outcome(_written(day), (_written(swapped), *slips))


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _written(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


DATE_OPERATIONS: tuple[Operation, ...] = (add_days, date_words)
