"""Made-up examples of every kind of task, with their right answers, as rows for a dataset.

The answers are computed here, beside the questions; simulated models never see them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict

from pipelines.providers.simulated.generators import (
    STEPS,
    Row,
    arithmetic_row,
    chain_row,
    chain_steps,
    locate_solve_row,
    multiple_choice_row,
    operation_row,
)

_FAMILIES: Mapping[str, Callable[..., Row]] = {
    "locate_solve": locate_solve_row,
    "arithmetic": arithmetic_row,
    "multiple_choice": multiple_choice_row,
    "chain": chain_row,
    **{name: partial(operation_row, name=name) for name in STEPS},
}
_MOST_TRIES = 50


class ChainModule(TypedDict):
    """What it takes to build one module of a chain."""

    name: str
    signature: str
    instructions: str


def simulated_dataset(family: str, n: int, seed: int = 0, **options: Any) -> list[Row]:
    """Return `n` different rows of one family; the same seed gives the same rows.

    Args:
        family: `locate_solve` (table, question, answer; option `rows`=12), `arithmetic` (question,
            answer), `multiple_choice` (question with options, answer is a letter; option
            `choices`=10), `chain` (word, answer; option `length` from 1 to 8), or the name of an
            operation such as `reverse` (question, answer).
        n: how many rows, at least 0.
        seed: of the generator.
        options: see `family`.

    Raises `ValueError` for an unknown family or an option out of range, and if the family has not
    so many different rows; `TypeError` for an option that the family does not have.
    """
    if family not in _FAMILIES:
        raise ValueError(f"family must be one of {', '.join(_FAMILIES)}, but got {family!r}")
    make = _FAMILIES[family]
    rng = random.Random(f"{family}/{seed}")
    distinct: dict[tuple[str, ...], Row] = {}
    for _ in range(_MOST_TRIES * n):
        if len(distinct) == n:
            break
        row = make(rng, **options)
        distinct.setdefault(tuple(row.values()), row)
    if len(distinct) < n:
        raise ValueError(f"{family!r} has not {n} different rows")
    return list(distinct.values())


def chain_modules(length: int) -> list[ChainModule]:
    """Return the modules of a chain of `length` (1 to 8) steps, from field `word` to `answer`."""
    steps = chain_steps(length)
    fields = ["word", *(f"value_{number}" for number in range(1, length)), "answer"]
    return [
        ChainModule(name=step.name, signature=f"{a} -> {b}", instructions=step.example)
        for step, a, b in zip(steps, fields, fields[1:], strict=False)
    ]


def families() -> tuple[str, ...]:
    """Return the names that `simulated_dataset` knows."""
    return tuple(_FAMILIES)
