"""Made-up examples with their right answers, as rows for a dataset.

The answers are computed here, beside the questions; simulated models never see them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pipelines.providers.simulated.tasks import evaluate_expression, format_number

Row = dict[str, str]


def locate_solve_row(rng: random.Random, rows: int = 12) -> Row:
    """A table of tasks with different results, a question that names an ID, the result."""
    if not 2 <= rows <= 60:
        raise ValueError(f"2 <= rows <= 60 must hold, but got {rows}")
    tasks: dict[str, str] = {}
    while len(tasks) < rows:
        expression, value = _sum(rng)
        tasks.setdefault(value, expression)
    numbers = rng.sample(range(100, 100 + 5 * rows), rows)
    letter, asked = rng.choice("TRQK"), rng.randrange(rows)
    lines = zip(numbers, tasks.values(), strict=True)
    return {
        "table": "\n".join(f"{letter}-{number}: Compute {task}" for number, task in lines),
        "question": f"What is the result of task {letter}-{numbers[asked]}?",
        "answer": list(tasks)[asked],
    }


def arithmetic_row(rng: random.Random) -> Row:
    """An expression of two operations and its value."""
    expression, value = _sum(rng)
    return {"question": f"Compute {expression}", "answer": value}


FAMILIES: dict[str, Callable[..., Row]] = {
    "locate_solve": locate_solve_row,
    "arithmetic": arithmetic_row,
}
"""What makes a row of each family; to be added to."""


def simulated_dataset(family: str, n: int, seed: int = 0, **options: Any) -> list[Row]:
    """`n` different rows of one family; the same seed gives the same rows.

    Args:
        family: `locate_solve` (table, question, answer; option `rows`=12, from 2 to 60) or
            `arithmetic` (question, answer).
        n: how many rows, at least 0.
        seed: of the generator.
        options: see `family`.

    Raises:
        ValueError: an unknown family, one with fewer different rows, or an option out of range.
        TypeError: an option that the family does not have.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, but got {family!r}")
    rng = random.Random(f"{family}/{seed}")
    distinct: dict[tuple[str, ...], Row] = {}
    for _ in range(50 * n):
        if len(distinct) == n:
            break
        row = FAMILIES[family](rng, **options)
        distinct.setdefault(tuple(row.values()), row)
    if len(distinct) < n:
        raise ValueError(f"{family!r} has not {n} different rows")
    return list(distinct.values())


def _sum(rng: random.Random) -> tuple[str, str]:
    """An expression and its value."""
    a, b, c = rng.randint(12, 99), rng.randint(3, 49), rng.randint(2, 98)
    forms = (f"{a} * {b} - {c}", f"{a} * {b} + {c}", f"({a} + {b}) * {c}", f"{10 * a} - {b} * {c}")
    expression = rng.choice(forms)
    value = evaluate_expression(expression)
    assert value is not None
    return expression, format_number(value)
