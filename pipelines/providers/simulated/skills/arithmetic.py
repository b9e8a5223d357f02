"""Work out an expression: `Compute (48 + 7) * 6 - 5`."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.skills.slips import number_slips
from pipelines.providers.simulated.solution import Solution

_EXPRESSION = re.compile(
    r"\b(?:compute|calculate|evaluate|work out|what is|solve)[: \t]+"
    r"([-(\d][-\d \t+*/().x\u00d7\u2212]*[\d)])",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"\s*(?!\d{4}-\d\d-\d\d)([-(\d][-\d \t+*/().]*[-+*/][-\d \t+*/().]*[\d)])\s*(?:=\s*\??)?\s*"
)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[-+*/()]")
_LONGEST = 200


class Arithmetic:
    """The number an expression comes to. Others tempt: precedence, signs, carries."""

    def solve(self, request: ParsedRequest) -> Solution | None:
        """Return the value of the first expression in the inputs."""
        for name, text in request.inputs.items():
            match = _EXPRESSION.search(text) or _BARE.fullmatch(text)
            expression = match[1][:_LONGEST] if match else ""
            if len(_TOKEN.findall(expression)) >= 3:
                solution = _solution(_canonical(expression), name)
                if solution:
                    return solution
        return None


def evaluate_expression(text: str) -> Fraction | None:
    """Return the exact value of + - * / ( ) over numbers; None if it has none."""
    try:
        tokens = _TOKEN.findall(text)
        value, rest = _sum(tokens)
        return value if not rest else None
    except (ValueError, ZeroDivisionError, IndexError, RecursionError):
        return None


def format_number(value: Fraction) -> str:
    """Return an integer as such and anything else with up to four decimals."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def _canonical(expression: str) -> str:
    plain = expression.replace("x", "*").replace("\u00d7", "*").replace("\u2212", "-")
    return " ".join(_TOKEN.findall(plain))


@lru_cache(maxsize=8192)
def _solution(expression: str, field: str) -> Solution | None:
    value = evaluate_expression(expression)
    if value is None:
        return None
    slips = [_left_to_right(expression), *_sign_errors(expression), _without_last(expression)]
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


def _without_last(expression: str) -> Fraction | None:
    return evaluate_expression(" ".join(_TOKEN.findall(expression)[:-2]))


def _sum(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, rest = _product(tokens)
    while rest and rest[0] in "+-":
        operand, after = _product(rest[1:])
        value, rest = (value + operand if rest[0] == "+" else value - operand), after
    return value, rest


def _product(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, rest = _atom(tokens)
    while rest and rest[0] in "*/":
        operand, after = _atom(rest[1:])
        value, rest = (value * operand if rest[0] == "*" else value / operand), after
    return value, rest


def _atom(tokens: list[str]) -> tuple[Fraction, list[str]]:
    if tokens[0] == "-":
        value, rest = _atom(tokens[1:])
        return -value, rest
    if tokens[0] == "(":
        value, rest = _sum(tokens[1:])
        return (value, rest[1:]) if rest[0] == ")" else _fail()
    return Fraction(tokens[0]), tokens[1:]


def _fail() -> tuple[Fraction, list[str]]:
    raise ValueError("unbalanced brackets")
