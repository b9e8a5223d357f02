"""The answer is the label, but for case, spacing and the punctuation around it."""

from __future__ import annotations

from typing import Any

from evaluators.metrics.metric import LabelMetric, Names
from evaluators.metrics.text import normalised


def exact_match(field: Names = None, column: Names = None) -> LabelMetric:
    """1 when every field's normalised text equals its label's, else 0.

    Numbers count as text: "7.0" is not "7" (see `numeric_match`), though a label or answer
    that *is* the number 7.0, not text, reads "7".

    Args:
        field: the output field or fields to compare, by default all that have a column.
        column: the label column of each, by default the one of the same name.
    """
    return LabelMetric.of("exact_match", compare, field, column)


def compare(label: Any, answer: Any) -> float:
    """1.0 or 0.0 for one label and answer."""
    return 1.0 if label == answer or normalised(label) == normalised(answer) else 0.0
