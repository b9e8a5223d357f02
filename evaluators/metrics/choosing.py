"""Which output fields a label metric compares with which columns, as its constructor is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from evaluators.errors import MetricError


class Chosen(TypedDict):
    """The fields of a `LabelMetric` that say what it compares."""

    fields: tuple[str, ...]
    columns: tuple[str, ...]


def chosen(field: str | Sequence[str] | None, column: str | Sequence[str] | None) -> Chosen:
    """Names as tuples of equal length, columns by default named as the fields.

    Raises:
        MetricError: columns without fields, or another number of them.
    """
    fields, columns = _names(field), _names(column)
    if columns and len(columns) != len(fields):
        raise MetricError(
            f"one column for each field is needed, but got field={field!r} and column={column!r}"
        )
    return {"fields": fields, "columns": columns or fields}


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)
