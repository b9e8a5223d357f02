"""Reading rows: from a .jsonl, .csv or .parquet file, a DataFrame, or any iterable of rows."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluators.errors import DatasetError

_INDEX_COLUMN = re.compile(r"__index_level_\d+__")


def rows_from(data: Any) -> tuple[Sequence[Any], str]:
    """The rows of `data`, unchecked, and what to call it in an error."""
    if isinstance(data, (str, Path)):
        return _read(Path(data)), f"'{data}'"
    pandas = sys.modules.get("pandas")  # imported already, if there is a DataFrame
    if pandas is not None and isinstance(data, pandas.DataFrame):
        _no_duplicates(list(data.columns), "the DataFrame")
        return data.to_dict("records"), "the DataFrame"
    if isinstance(data, Mapping):
        raise DatasetError("a dataset is a list of rows, but got one mapping; put rows in a list")
    if not isinstance(data, Iterable):
        raise DatasetError(
            "a dataset is a list of rows, a DataFrame, a list of dspy.Examples or a path, "
            f"but got a {type(data).__name__}"
        )
    return list(data), "the dataset"


def _read(path: Path) -> Sequence[Any]:
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(f"'{path}' is of no known kind; known are .jsonl, .csv and .parquet")
    if not path.is_file():
        raise DatasetError(f"there is no file '{path}' (looked in {path.absolute().parent})")
    try:
        return reader(path)
    except UnicodeDecodeError as error:
        raise DatasetError(f"'{path}' is not UTF-8 text: {error}") from error


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DatasetError(f"'{path}', line {number}: not valid JSON: {error}") from error
            if not isinstance(row, dict):
                kind = type(row).__name__
                raise DatasetError(f"'{path}', line {number}: expected an object, but got a {kind}")
            rows.append(row)
    return rows


def _read_csv(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(2**31 - 1)  # of this process; by default 128 KiB, which documents exceed
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        try:
            header = next(reader, [])
            _no_duplicates(header, f"'{path}'")
            rows = [(cells, reader.line_num) for cells in reader if cells]
            while rows and not any(cell.strip() for cell in rows[-1][0]):
                rows.pop()  # spreadsheets leave blank rows behind
            return [_csv_row(header, cells, path, line) for cells, line in rows]
        except csv.Error as error:
            raise DatasetError(f"'{path}', line {reader.line_num}: {error}") from error


def _csv_row(header: list[str], cells: list[str], path: Path, line: int) -> dict[str, str]:
    if len(cells) != len(header):
        raise DatasetError(
            f"'{path}', line {line}: {len(cells)} cells, but the header has {len(header)} columns"
        )
    return dict(zip(header, cells, strict=True))


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow  # late: other datasets need not pay for it
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise DatasetError(f"'{path}' cannot be read as parquet: {error}") from error
    _no_duplicates(table.column_names, f"'{path}'")
    kept = [name for name in table.column_names if not _INDEX_COLUMN.fullmatch(name)]
    rows: list[dict[str, Any]] = table.select(kept).to_pylist()
    return rows


def _no_duplicates(columns: Sequence[Any], source: str) -> None:
    for column in columns:
        if columns.count(column) > 1:
            raise DatasetError(f"{source} has the column {column!r} more than once")
