"""One row of each family, drawn with a random generator, with its right answer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from benchmarks.worlds.knowledge import ATTRIBUTES, LETTERS, register_entry
from benchmarks.worlds.operation import Operation
from benchmarks.worlds.operations import OPERATIONS
from benchmarks.worlds.word_operations import WORD_OPERATIONS
from pipelines.providers.simulated.dataset import Row

STEPS = {op.name: op for op in OPERATIONS}
"""The operations by name."""

CHAIN: tuple[str, ...] = (
    "reverse",
    "caesar",
    "rotate",
    "letter_sum",
    "multiply_add",
    "convert_units",
    "add_days",
    "date_words",
)
"""The steps of a chain in order; a slip in any of them shows in the end."""

_SYLLABLES = ("ba", "ce", "dor", "fin", "gul", "ha", "kem", "lo", "mir", "nat", "pel", "ru", "sov")


def multiple_choice_row(rng: random.Random, choices: int = 10) -> Row:
    """Return a question about the Merrow Register with options, and the right letter."""
    _check("choices", choices, 2, len(LETTERS))
    attribute, which = rng.choice(ATTRIBUTES), rng.choice(("highest", "lowest"))
    names = list(_minerals(rng, choices, attribute))
    best = (max if which == "highest" else min)(names, key=lambda m: register_entry(attribute, m))
    lines = [f"({letter}) {name}" for letter, name in zip(LETTERS, names, strict=False)]
    question = f"In the Merrow Register, which of these minerals has the {which} {attribute}?"
    return {"question": "\n".join([question, *lines]), "answer": LETTERS[names.index(best)]}


def chain_row(rng: random.Random, length: int = 4) -> Row:
    """Return a word and what the steps of a chain make of it."""
    word = value = _word(rng)
    for step in chain_steps(length):
        value = _applied(step, value)
    return {"word": word, "answer": value}


def operation_row(rng: random.Random, name: str) -> Row:
    """Return one operation with a value to apply it to, in one text, and the outcome."""
    step = STEPS[name]
    value = _value_for(rng, step)
    question = f"{step.example.rstrip('.')}: {value}"
    return {"question": question, "answer": _applied(step, value)}


def chain_steps(length: int) -> Sequence[Operation]:
    """Return the first `length` steps of a chain, 1 to 8."""
    _check("length", length, 1, len(CHAIN))
    return [STEPS[name] for name in CHAIN[:length]]


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{low} <= {name} <= {high} must hold, but got {value}")


def _applied(step: Operation, value: str) -> str:
    match = step.pattern.search(step.example)
    outcome = step.apply(value, match.groups() if match else ())
    if outcome is None:
        raise ValueError(f"{step.name} does not apply to {value!r}")
    return outcome.right


def _value_for(rng: random.Random, step: Operation) -> str:
    number = rng.randint(2, 3999)
    if step in WORD_OPERATIONS:
        return _word(rng)
    if step.name == "date_words":
        return f"{rng.randint(1900, 2099)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    return _applied(STEPS["to_roman"], str(number)) if step.name == "from_roman" else str(number)


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(3, 4)))


def _minerals(rng: random.Random, count: int, attribute: str) -> Iterator[str]:
    """Yield names with different register entries."""
    taken: set[int] = set()
    while len(taken) < count:
        name = f"{_word(rng)}ite"
        entry = register_entry(attribute, name)
        if entry not in taken:
            taken.add(entry)
            yield name
