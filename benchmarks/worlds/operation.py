"""One operation on a value: how it is worded, what it comes to, and how one gets it wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Outcome(NamedTuple):
    """What an operation makes of a value."""

    right: str
    wrong: tuple[str, ...]
    """Plausible wrong results; duplicates and the right one are allowed and dropped later."""


@dataclass(frozen=True)
class Operation:
    """An operation, which is also the name of the skill that it takes."""

    name: str
    pattern: re.Pattern[str]
    """Finds the wording; its groups are the operation's parameters."""
    example: str
    """An instruction that the pattern finds."""
    apply: Callable[[str, tuple[str, ...]], Outcome | None]
    """(text that holds the value, parameters) -> outcome; None if the text holds no such value."""


def operation(
    name: str, pattern: str, example: str
) -> Callable[[Callable[[str, tuple[str, ...]], Outcome | None]], Operation]:
    """Return a decorator that makes an `Operation` of its `apply` function."""
    compiled = re.compile(pattern, re.IGNORECASE)

    def decorate(apply: Callable[[str, tuple[str, ...]], Outcome | None]) -> Operation:
        return Operation(name, compiled, example, apply)

    return decorate


def first_word(text: str) -> str | None:
    """Return the first run of letters in the text."""
    match = re.search(r"[A-Za-z]+", text)
    return match[0] if match else None


def first_number(text: str) -> int | None:
    """Return the first integer in the text; digits beyond the twelfth are not read."""
    match = re.search(r"-?\d{1,12}", text.replace(",", ""))
    return int(match[0]) if match else None
