"""Made-up examples of every kind of task, with their right answers, as rows for a dataset."""

from __future__ import annotations

from functools import partial
from typing import TypedDict

from benchmarks.worlds.generators import (
    STEPS,
    chain_row,
    chain_steps,
    multiple_choice_row,
    operation_row,
)
from pipelines.providers.simulated import FAMILIES

FAMILIES.update(
    multiple_choice=multiple_choice_row,
    chain=chain_row,
    **{name: partial(operation_row, name=name) for name in STEPS},
)


class ChainModule(TypedDict):
    """What it takes to build one module of a chain."""

    name: str
    signature: str
    instructions: str


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
    return tuple(FAMILIES)
