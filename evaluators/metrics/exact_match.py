"""The answer is the label, but for case, spacing and the punctuation around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evaluators.metrics.metric import LabelMetric, Names
from evaluators.metrics.text import normalised, unpacked

_SETS = (set, frozenset)
_MANY = (list, tuple, *_SETS)


def exact_match(field: Names = None, column: Names = None) -> LabelMetric:
    """1 when every field's normalised text equals its label's, else 0.

    Typed values are equal by what they hold: a pydantic model or dataclass and a mapping, field by
    field (one that is missing is None), an Enum and its value, lists and tuples item by item, a set
    and any of them in any order.

    Numbers count as text: "7.0" is not "7" (see `numeric_match`), though a label or answer
    that *is* the number 7.0, not text, reads "7".

    Args:
        field: the output field or fields to compare, by default all that have a column.
        column: the label column of each, by default the one of the same name.
    """
    return LabelMetric.of("exact_match", compare, field, column)


def compare(label: Any, answer: Any) -> float:
    """1.0 or 0.0 for one label and answer."""
    return float(_same(label, answer))


def _same(label: Any, answer: Any) -> bool:
    label, answer = unpacked(label), unpacked(answer)
    if isinstance(label, Mapping) and isinstance(answer, Mapping):
        return all(_same(label.get(key), answer.get(key)) for key in {*label, *answer})
    if isinstance(label, _MANY) and isinstance(answer, _MANY):
        if isinstance(label, _SETS) or isinstance(answer, _SETS):
            return _within(label, answer) and _within(answer, label)
        return len(label) == len(answer) and all(map(_same, label, answer))
    return label == answer or normalised(label) == normalised(answer)


def _within(some: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(any(_same(each, other) for other in others) for each in some)
