"""Reading rows: from a file, a DataFrame, columns by name, or any iterable of rows."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluators.errors import DatasetError
from evaluators.mlflow_rows import flattened
from search_spaces.refusals import nearest

_INDEX_COLUMN = re.compile(r"__index_level_\d+__")


def rows_from(data: Any) -> tuple[Sequence[Any], str]:
    """The rows of `data`, unchecked, and what to call it in an error.

    Raises:
        DatasetError: it can't be read as rows.
    """
    rows, source = _rows(data)
    return flattened(rows, source), source


def _rows(data: Any) -> tuple[Sequence[Any], str]:
    if callable(getattr(data, "to_df", None)):  # an evaluation dataset of MLflow's
        data = data.to_df()
    if isinstance(data, (str, Path)):
        return _read(Path(data)), f"'{data}'"
    pandas = sys.modules.get("pandas")  # imported already, if there is a DataFrame
    if pandas is not None and isinstance(data, pandas.DataFrame):
        _no_duplicates(list(data.columns), "the DataFrame")
        return data.to_dict("records"), "the DataFrame"
    if isinstance(data, Mapping):
        return _from_columns(data, "the dataset"), "the dataset"
    if not isinstance(data, Iterable):
        raise DatasetError(
            "a dataset is a list of rows, a dict of columns, a DataFrame, a list of dspy.Examples "
            f"or a path, but got a {type(data).__name__}"
        )
    return list(data), "the dataset"


def _from_columns(data: Mapping[Any, Any], source: str) -> list[dict[Any, Any]]:
    """The rows of columns by name, each a list of values."""
    if data and all(map(_is_dataset, data.values())):
        names = ", ".join(map(repr, data))
        raise DatasetError(
            f"{source} has several parts ({names}); give one of them: data[{next(iter(data))!r}]"
        )
    for name, values in data.items():
        if isinstance(values, str) or not (
            isinstance(values, Sequence) or hasattr(values, "tolist")
        ):
            raise DatasetError(
                f"{source} is one mapping, whose values must be lists of a value for each row, "
                f"but {name!r} is a {type(values).__name__}; put rows in a list"
            )
    columns = [v.tolist() if hasattr(v, "tolist") else v for v in data.values()]
    lengths = dict(zip(data, map(len, columns), strict=True))
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise DatasetError(f"{source} must have columns of one length, but got {shown}")
    return [dict(zip(data, values, strict=True)) for values in zip(*columns, strict=True)]


def _is_dataset(value: Any) -> bool:
    """Whether it is a dataset rather than a column: a split of Hugging Face's, or rows."""
    if hasattr(value, "column_names") or hasattr(value, "columns"):
        return True
    rows = isinstance(value, list | tuple) and value
    return bool(rows) and all(isinstance(row, Mapping) or hasattr(row, "toDict") for row in value)


def _read(path: Path) -> Sequence[Any]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        *most, last = _READERS
        hint = "; save it as .csv" if path.suffix.lower() in (".xlsx", ".xls", ".ods") else ""
        known = f"{', '.join(most)} and {last}"
        raise DatasetError(f"'{path}' is of no known kind; known are {known}{hint}")
    if not path.is_file():
        raise DatasetError(_no_file(path))
    try:
        return reader(path)
    except UnicodeDecodeError as error:
        raise DatasetError(_not_utf8(path)) from error


def _no_file(path: Path) -> str:
    """The message about a missing file, with the nearest name."""
    if path.parts[0] in ("http:", "https:", "s3:", "gs:", "hf:"):
        return f"'{path}' is an address, which is not fetched: download it, or give its rows"
    folder = path.absolute().parent
    others = [each.name for each in folder.glob("*") if each.suffix.lower() in _READERS]
    hint = nearest(path.name, others)
    return f"there is no file '{path}'{hint} (looked in {folder})"


def _not_utf8(path: Path) -> str:
    """The message about the file, with its most likely encoding and how to convert it."""
    held = path.read_bytes()
    first = _first_wrong(held, "utf-8") or 0
    encoding = "latin-1" if _first_wrong(held, "cp1252") is not None else "cp1252"
    if held.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    line, file = held.count(b"\n", 0, first) + 1, f"Path({str(path)!r})"
    return (
        f"'{path}' is not UTF-8 text (line {line}, byte {held[first]:#x}), but most likely "
        f"{encoding}, as Windows writes it: save it as UTF-8, or "
        f"{file}.write_text({file}.read_text({encoding!r}), 'utf-8')"
    )


def _first_wrong(held: bytes, encoding: str) -> int | None:
    try:
        held.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return None


def _read_json(path: Path) -> Sequence[Any]:
    """A list of objects or an object of lists; also JSON lines with the wrong extension."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data"):
            return _read_jsonl(path)
        raise DatasetError(f"'{path}': not valid JSON: {error}") from error
    if isinstance(data, dict):
        return _from_columns(data, f"'{path}'")
    if not isinstance(data, list):
        kind = type(data).__name__
        raise DatasetError(f"'{path}' must hold a list of objects, but holds a {kind}")
    return data


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DatasetError(f"'{path}', line {number}: not valid JSON: {error}") from error
            if not isinstance(row, dict):
                kind = type(row).__name__
                hint = "; a file of one list is a .json" if isinstance(row, list) else ""
                problem = f"expected an object, but got a {kind}{hint}"
                raise DatasetError(f"'{path}', line {number}: {problem}")
            rows.append(row)
    return rows


def _read_csv(path: Path, delimiters: str = ",;\t|") -> list[dict[str, str]]:
    """The rows, split by the delimiter that gives the header the most columns."""
    csv.field_size_limit(2**31 - 1)  # of this process; by default 128 KiB, which documents exceed
    with path.open(encoding="utf-8-sig", newline="") as file:
        text = file.read()
    delimiter = max(delimiters, key=lambda each: len(_header(text, each)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        _no_duplicates(header, f"'{path}'")
        rows = [(cells, reader.line_num) for cells in reader if cells]
        while rows and not any(cell.strip() for cell in rows[-1][0]):
            rows.pop()  # spreadsheets leave blank rows behind
        return [_csv_row(header, cells, path, line) for cells, line in rows]
    except csv.Error as error:
        hint = "; is a quote left open?" if "end of data" in str(error) else ""
        raise DatasetError(f"'{path}', line {reader.line_num}: {error}{hint}") from error


def _read_tsv(path: Path) -> list[dict[str, str]]:
    return _read_csv(path, "\t")


def _header(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []


def _csv_row(header: list[str], cells: list[str], path: Path, line: int) -> dict[str, str]:
    if len(cells) != len(header):
        raise DatasetError(
            f"'{path}', line {line}: {len(cells)} cells, but the header has {len(header)} columns; "
            "a cell that holds the delimiter goes in quotes"
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


_READERS: Mapping[str, Callable[[Path], Sequence[Any]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}


def _no_duplicates(columns: Sequence[Any], source: str) -> None:
    for column in columns:
        if columns.count(column) > 1:
            raise DatasetError(f"{source} has the column {column!r} more than once; rename one")
