"""The tasks that simulated models can do: what is asked is found, and computed, from the text.

Each comes with the right answer and with plausible wrong ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import chain, zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from pipelines.providers.simulated.draws import uniform
from pipelines.providers.simulated.request import ParsedRequest

if TYPE_CHECKING:
    from pipelines.providers.simulated.mind import Mind

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
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[-+*/()]")
_NOT_ARITHMETIC = re.compile(r"(?:^|[-+*/(])\s*\+|[\d)]\s*\(|\(\s*\)")
"""Python, but no arithmetic: a plus that stands for nothing, a call, an empty tuple."""
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

    def seen_by(self, mind: Mind) -> Mind:
        """Return the mind that answers; a kind of item may change how it draws."""
        return mind


class Skill(Protocol):
    """A kind of task whose right answer follows from the text of the message."""

    def solve(self, request: ParsedRequest) -> Solution | None:
        """Return the solution, or None without a task of this kind. Pure; never raises."""
        ...


class Locate:
    """The text that stands beside the ID. Others tempt: neighbouring lines and similar IDs."""

    def solve(self, request: ParsedRequest) -> Solution | None:
        """Return the task text, and the ID as the extra output `id`."""
        for name, text in request.inputs.items():
            rows = _rows(text)
            asked = _asked_id(request, rows, name) if len(rows) >= 2 else None
            if asked:
                return _located(text, asked[0], frozenset({name, asked[1]}))
        return None


@lru_cache(maxsize=4096)
def _rows(text: str) -> Mapping[str, str]:
    """Return the tasks of the table by ID."""
    return MappingProxyType(dict(_LINE.findall(text)))


def _asked_id(
    request: ParsedRequest, rows: Mapping[str, str], table: str
) -> tuple[str, str] | None:
    """Return the ID asked for and the field that asks: an ID of the table, else any ID."""
    texts = {n: _LINE.sub("", t) if _rows(t) else t for n, t in request.inputs.items()}
    found = [(match, name) for name, text in texts.items() for match in _ID.findall(text)]
    found += [(match, table) for match in _ID.findall(request.instructions)]
    known = [pair for pair in found if pair[0] in rows]
    return next(iter(known or found), None)


@lru_cache(maxsize=4096)
def _located(table: str, asked: str, used: frozenset[str]) -> Solution:
    rows = _rows(table)
    ids = list(rows)
    place = ids.index(asked) if asked in rows else len(ids)
    similar = sorted((other for other in ids if other != asked), key=lambda o: -_alike(o, asked))
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


def _alike(left: str, right: str) -> int:
    """Return how many characters two IDs share, places not minded, plus those that agree."""
    agree = sum(a == b for a, b in zip(left, right, strict=False))
    return agree + len(set(left) & set(right))


class Arithmetic:
    """The number an expression comes to. Others tempt: precedence, signs, carries."""

    def solve(self, request: ParsedRequest) -> Solution | None:
        for name, text in request.inputs.items():
            match = _EXPRESSION.search(text) or _BARE.fullmatch(text)
            expression = match[1][:_LONGEST] if match else ""
            if len(_TOKEN.findall(expression)) >= 3:
                solution = _computed(_canonical(expression), name)
                if solution:
                    return solution
        return None


def evaluate_expression(text: str) -> Fraction | None:
    """Return the exact value of + - * / ( ) over numbers; None if it has none."""
    written = " ".join(_TOKEN.findall(text))  # nothing but numbers, signs and brackets
    if _NOT_ARITHMETIC.search(written):
        return None
    exact = _NUMBER.sub(lambda number: f"Fraction('{number[0]}')", written)
    try:
        value = eval(exact, {"__builtins__": {}, "Fraction": Fraction})
    except (SyntaxError, ZeroDivisionError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, Fraction) else None


def format_number(value: Fraction) -> str:
    """Return an integer as such and anything else with up to four decimals."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def number_slips(value: int) -> tuple[str, ...]:
    """Return numbers that a small mistake in calculating `value` leads to."""
    digits = str(abs(value))
    swapped = int(digits[:-2] + digits[-1] + digits[-2]) if len(digits) > 1 else value + 2
    near = [value + 10, value - 10, value + 1, value - 1, value + 100, swapped]
    return tuple(str(number) for number in near)


def _canonical(expression: str) -> str:
    plain = expression.replace("x", "*").replace("\u00d7", "*").replace("\u2212", "-")
    return " ".join(_TOKEN.findall(plain))


@lru_cache(maxsize=8192)
def _computed(expression: str, field: str) -> Solution | None:
    value = evaluate_expression(expression)
    if value is None:
        return None
    without_last = evaluate_expression(" ".join(_TOKEN.findall(expression)[:-2]))
    slips = [_left_to_right(expression), *_sign_errors(expression), without_last]
    near = number_slips(value.numerator) if value.denominator == 1 else ()
    wrong = (*(format_number(slip) for slip in slips if slip is not None), *near)
    return Solution("arithmetic", expression, format_number(value), wrong, used=frozenset({field}))


def _left_to_right(expression: str) -> Fraction | None:
    """Return the value for one who ignores precedence and brackets."""
    flat = [token for token in _TOKEN.findall(expression) if token not in "()"]
    nested = "(" * len(flat) + flat[0] + ")"
    for operator, operand in zip(flat[1::2], flat[2::2], strict=False):
        nested += operator + operand + ")"
    return evaluate_expression(nested + ")" * (nested.count("(") - nested.count(")")))


def _sign_errors(expression: str) -> list[Fraction | None]:
    flips = str.maketrans("+-", "-+")
    places = [place for place, sign in enumerate(expression) if sign in "+-" and place > 0]
    return [
        evaluate_expression(expression[:p] + expression[p].translate(flips) + expression[p + 1 :])
        for p in places[:3]
    ]


SKILLS: list[Skill] = [Locate(), Arithmetic()]
"""In the order in which they are tried (a table of tasks holds expressions); to be added to."""


def find_solution(request: ParsedRequest) -> Solution | None:
    """Return what the first skill that recognises the request finds in it."""
    return next((found for skill in SKILLS if (found := skill.solve(request))), None)


def solve_text(text: str) -> Solution | None:
    """Return what a skill finds in one text alone."""
    return find_solution(ParsedRequest("", {"task": text}, ()))


def follow(first: Solution) -> Solution | None:
    """Return the item of doing what `first` finds, both steps in one call; None if that is no task.

    Tempting answers are those of the tasks that `first` could find by mistake.
    """
    last = solve_text(first.right)
    if last is None:
        return None
    others = (other.right for text in first.wrong if (other := solve_text(text)))
    item, wrong = repr((first.item, last.item)), (*others, *last.wrong)
    return Solution(last.skill, item, last.right, wrong, via=first, used=first.used)
