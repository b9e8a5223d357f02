"""The tasks that simulated models can do: what is asked is found, and computed, from the text.

Each comes with the right answer and with plausible wrong ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import chain, zip_longest

from pipelines.providers.simulated.draws import uniform
from pipelines.providers.simulated.request import ParsedRequest

_LINE = re.compile(
    r"^[ \t]*(?:[-*|][ \t]*)?([A-Z]{1,4}-\d{1,6})[ \t]*[:|][ \t]*(\S.*?)[ \t|]*$", re.M
)
_ID = re.compile(r"\b[A-Z]{1,4}-\d{1,6}\b")
_EXPRESSION = re.compile(
    r"\b(?:compute|calculate|evaluate|work out|what is|solve)[: \t]+"
    r"([-(\d][-\d \t+*/().x\u00d7\u2212]*[\d)])",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"\s*(?!\d{4}-\d\d-\d\d)([-(\d][-\d \t+*/().]*[-+*/][-\d \t+*/().]*[\d)])\s*(?:=\s*\??)?\s*"
)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[-+*/()]")
_NOT_ARITHMETIC = re.compile(r"(?:^|[-+*/(])\s*\+|[\d)]\s*\(|\(\s*\)")
"""Python, but no arithmetic: a plus that stands for nothing, a call, an empty tuple."""
_SIGNS = str.maketrans("x\u00d7\u2212", "**-")
_LONGEST = 200


@dataclass(frozen=True)
class Solution:
    """One item with its right answer, computed from the message alone."""

    skill: str
    """The skill whose level decides how often a model gets it right."""
    item: str
    """The item in one canonical text: field names, prompt and model play no part in it."""
    right: str
    wrong: tuple[str, ...]
    """Plausible wrong answers; at least one, without duplicates, none of them right."""
    via: Solution | None = None
    """The item whose answer is the task of this one, where two steps are done in one call."""
    used: frozenset[str] = frozenset()
    """Names of the input fields that the item was read from."""
    extras: Mapping[str, str] = field(default_factory=dict)
    """Right values of output fields with other names, such as the `id` of a located task."""

    def __post_init__(self) -> None:
        distinct = tuple(dict.fromkeys(text for text in self.wrong if text != self.right))
        object.__setattr__(self, "wrong", distinct or ("unknown",))

    @property
    def wrong_by_popularity(self) -> tuple[str, ...]:
        """The wrong answers in an order that all models share, most tempting first."""
        return tuple(sorted(self.wrong, key=lambda text: uniform("popular", self.item, text)))


def locate(request: ParsedRequest) -> Solution | None:
    """The text beside the ID asked for. Others tempt: neighbouring lines and similar IDs."""
    for name, text in request.inputs.items():
        rows = _rows(text)
        asked = _asked_id(request, rows, name) if len(rows) >= 2 else None
        if asked:
            return _located(text, asked[0], frozenset({name, asked[1]}))
    return None


@lru_cache(maxsize=4096)
def _rows(text: str) -> Mapping[str, str]:
    """The tasks of the table by ID."""
    return dict(_LINE.findall(text))


def _asked_id(
    request: ParsedRequest, rows: Mapping[str, str], table: str
) -> tuple[str, str] | None:
    """The ID asked for and the field that asks: an ID of the table, else any ID."""
    texts = {n: _LINE.sub("", t) if _rows(t) else t for n, t in request.inputs.items()}
    found = [(match, name) for name, text in texts.items() for match in _ID.findall(text)]
    found += [(match, table) for match in _ID.findall(request.instructions)]
    return next((pair for pair in found if pair[0] in rows), found[0] if found else None)


@lru_cache(maxsize=4096)
def _located(table: str, asked: str, used: frozenset[str]) -> Solution:
    def alike(other: str) -> int:
        agree = sum(a == b for a, b in zip(other, asked, strict=False))
        return agree + len(set(other) & set(asked))

    rows = _rows(table)
    ids = list(rows)
    place = ids.index(asked) if asked in rows else len(ids)
    similar = sorted((other for other in ids if other != asked), key=alike, reverse=True)
    neighbours = ids[max(0, place - 1) : place] + ids[place + 1 : place + 2]
    mixed = chain.from_iterable(zip_longest(neighbours, similar[:5]))
    return Solution(
        skill="locate",
        item=repr((asked, dict(rows))),
        right=rows.get(asked, f"There is no task {asked}."),
        wrong=tuple(rows[other] for other in mixed if other),
        used=used,
        extras={"id": asked, "task_id": asked},
    )


def arithmetic(request: ParsedRequest) -> Solution | None:
    """The number an expression comes to. Others tempt: precedence, signs, carries."""
    for name, text in request.inputs.items():
        match = _EXPRESSION.search(text) or _BARE.fullmatch(text)
        tokens = _TOKEN.findall(match[1][:_LONGEST].translate(_SIGNS)) if match else ()
        if len(tokens) >= 3 and (solution := _computed(" ".join(tokens), name)):
            return solution
    return None


def evaluate_expression(text: str) -> Fraction | None:
    """The exact value of + - * / ( ) over numbers; None if it has none."""
    written = " ".join(_TOKEN.findall(text))  # nothing but numbers, signs and brackets
    if _NOT_ARITHMETIC.search(written):
        return None
    exact = re.sub(r"\d+(?:\.\d+)?", lambda number: f"Fraction('{number[0]}')", written)
    try:
        value = eval(exact, {"__builtins__": {}, "Fraction": Fraction})
    except (SyntaxError, ZeroDivisionError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, Fraction) else None


def format_number(value: Fraction) -> str:
    """An integer as such and anything else with up to four decimals."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def number_slips(value: int) -> tuple[str, ...]:
    """Numbers that a small mistake in calculating `value` leads to."""
    digits = str(abs(value))
    swapped = int(digits[:-2] + digits[-1] + digits[-2]) if len(digits) > 1 else value + 2
    near = [value + 10, value - 10, value + 1, value - 1, value + 100, swapped]
    return tuple(map(str, near))


@lru_cache(maxsize=8192)
def _computed(expression: str, field: str) -> Solution | None:
    value = evaluate_expression(expression)
    if value is None:
        return None
    tokens = expression.split()
    slips = [_without_precedence(tokens)]
    signs = [place for place, token in enumerate(tokens) if token in "+-" and place > 0]
    for place in signs[:3]:
        flipped = "-" if tokens[place] == "+" else "+"
        slips.append(" ".join([*tokens[:place], flipped, *tokens[place + 1 :]]))
    slips.append(" ".join(tokens[:-2]))
    near = number_slips(value.numerator) if value.denominator == 1 else ()
    others = (format_number(slip) for slip in map(evaluate_expression, slips) if slip is not None)
    wrong = (*others, *near)
    return Solution("arithmetic", expression, format_number(value), wrong, used=frozenset({field}))


def _without_precedence(tokens: list[str]) -> str:
    """The expression as one reads it who ignores precedence and brackets."""
    flat = [token for token in tokens if token not in "()"]
    nested = "(" * len(flat) + flat[0] + ")"
    for operator, operand in zip(flat[1::2], flat[2::2], strict=False):
        nested += operator + operand + ")"
    return nested + ")" * (nested.count("(") - nested.count(")"))


Skill = Callable[[ParsedRequest], Solution | None]
"""Finds a task whose right answer follows from the text of the message. Pure; never raises."""

SKILLS: list[Skill] = [locate, arithmetic]
"""In the order in which they are tried (a table of tasks holds expressions); to be added to."""


def find_solution(request: ParsedRequest) -> Solution | None:
    """What the first skill that recognises the request finds in it."""
    return next((found for skill in SKILLS if (found := skill(request))), None)


def solve_text(text: str) -> Solution | None:
    """What a skill finds in one text alone."""
    return find_solution(ParsedRequest("", {"task": text}, ()))


def follow(first: Solution) -> Solution | None:
    """The item of doing what `first` finds, both steps in one call; None if that is no task.

    Tempting answers are those of the tasks that `first` could find by mistake.
    """
    last = solve_text(first.right)
    if last is None:
        return None
    others = (other.right for text in first.wrong if (other := solve_text(text)))
    item, wrong = repr((first.item, last.item)), (*others, *last.wrong)
    return Solution(last.skill, item, last.right, wrong, via=first, used=first.used)
