"""Steps of a chain: an operation named in words, applied to a running value.

The operation and its value may stand together in one field (`Reverse the word: planet`), in two
fields, or the operation in the instructions and the value in the first field.
"""

from __future__ import annotations

import re
from functools import lru_cache

from benchmarks.worlds.date_operations import DATE_OPERATIONS
from benchmarks.worlds.number_operations import NUMBER_OPERATIONS
from benchmarks.worlds.operation import Operation
from benchmarks.worlds.word_operations import WORD_OPERATIONS
from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.tasks import Solution

OPERATIONS: tuple[Operation, ...] = (*WORD_OPERATIONS, *DATE_OPERATIONS, *NUMBER_OPERATIONS)


def apply_operation(request: ParsedRequest) -> Solution | None:
    """Return the value after the operation, whose name is that of the skill.

    Where several operations are named, the first one is done.
    """
    for name, text in request.inputs.items():
        if found := find_operation(text):
            value, field = _value_beside(request, name, found[2])
            return _solution(found[0], found[1], value, frozenset({name, field}))
    found = find_operation(request.instructions)
    if found and request.inputs:
        field = next(iter(request.inputs))
        return _solution(found[0], found[1], request.inputs[field], frozenset({field}))
    return None


@lru_cache(maxsize=4096)
def find_operation(text: str) -> tuple[Operation, tuple[str, ...], str] | None:
    """Return the first operation named in the text, its parameters and the rest of the text."""
    matches = [(match, op) for op in OPERATIONS if (match := op.pattern.search(text))]
    if not matches:
        return None
    match, op = min(matches, key=lambda pair: pair[0].start())
    after = text[match.end() :]
    rest = after.partition(":")[2] if ":" in after else _other_numbers(text, match)
    return op, tuple(group or "" for group in match.groups()), rest.strip()


def _value_beside(request: ParsedRequest, named_in: str, rest: str) -> tuple[str, str]:
    """Return the value and its field: after the colon, else the first other field."""
    others = [name for name in request.inputs if name != named_in]
    if rest or not others:
        return rest, named_in
    return request.inputs[others[0]], others[0]


@lru_cache(maxsize=8192)
def _solution(
    op: Operation, parameters: tuple[str, ...], value: str, used: frozenset[str]
) -> Solution | None:
    outcome = op.apply(value, parameters)
    if outcome is None:
        return None
    item = repr((op.name, parameters, value))
    return Solution(op.name, item, outcome.right, outcome.wrong, used=used)


def _other_numbers(text: str, match: re.Match[str]) -> str:
    """Return the text without the operation's parameters if a number is left, else nothing."""
    for group in range(len(match.groups()), 0, -1):
        start, end = match.span(group)
        text = text[: max(start, 0)] + text[end:] if start >= 0 else text
    return text if any(character.isdigit() for character in text) else ""
