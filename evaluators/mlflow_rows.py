"""Rows as `mlflow.genai.evaluate` takes them, as rows of plain columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from evaluators.errors import DatasetError

EXPECTED_RESPONSE = "expected_response"
"""MLflow's name for the label of a single answer."""

_PARTS = {"inputs", "outputs", "expectations"}
_ASIDE = {"tags", "trace", "source", "source_type", "source_id"}
_ASIDE |= {"created_time", "dataset_record_id", "dataset_id", "last_update_time"}


def flattened(rows: Sequence[Any], source: str) -> Sequence[Any]:
    """The rows with a column for each input and each expectation; other rows as they are.

    MLflow's rows are mappings `inputs` and `expectations`, beside which nothing but MLflow's own
    columns stands. As in `mlflow.genai.optimize_prompts`, `outputs` are the labels of rows without
    expectations: by field where they are a mapping, else as `expected_response`.

    Raises:
        DatasetError: a row has an input and an expectation of the same name.
    """
    if not rows or not all(map(_is_nested, rows)):
        return rows
    return [_flat(row, f"row {number} of {source}") for number, row in enumerate(rows, start=1)]


def _is_nested(row: Any) -> bool:
    return (
        isinstance(row, Mapping)
        and isinstance(row.get("inputs"), Mapping)
        and not row.keys() - _PARTS - _ASIDE
    )


def _flat(row: Mapping[str, Any], where: str) -> dict[Any, Any]:
    inputs, labels = row["inputs"], row.get("expectations")
    if not isinstance(labels, Mapping) or not labels:
        labels = _labels(row.get("outputs"))
    if both := [name for name in labels if name in inputs]:
        raise DatasetError(
            f"{where} has {both[0]!r} among its inputs and among its expectations; a column needs "
            "a name of its own"
        )
    return {**inputs, **labels}


def _labels(outputs: Any) -> Mapping[Any, Any]:
    if isinstance(outputs, Mapping):
        return outputs
    missing = outputs is None or (isinstance(outputs, float) and isnan(outputs))
    return {} if missing else {EXPECTED_RESPONSE: outputs}
