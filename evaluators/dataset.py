"""Labelled examples: enough of them, and the same columns in each."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import dspy
import numpy as np

from evaluators.dataset_sources import rows_from
from evaluators.errors import DatasetError
from search_spaces.config import canonical_json
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Dataset"]

logger = logging.getLogger(__name__)


class Dataset(Sequence[dspy.Example]):
    """Examples in a fixed order, all with the same columns.

    `Dataset.load` makes one from anything a user has; slices are datasets too.
    """

    def __init__(
        self,
        examples: Iterable[dspy.Example],
        columns: Iterable[str],
        rows: Iterable[int] | None = None,
    ) -> None:
        """Trusts its arguments: `load` checks them."""
        self._examples = tuple(examples)
        self.columns = tuple(columns)
        self.rows = tuple(range(len(self._examples)) if rows is None else rows)
        """By example, its number in what was loaded, from 0."""

    @classmethod
    def load(
        cls,
        data: Dataset
        | pd.DataFrame
        | Iterable[Mapping[str, Any] | dspy.Example]
        | Mapping[str, Sequence[Any]]
        | str
        | Path,
        *,
        minimum: int = 2,
    ) -> Dataset:
        """A dataset from rows, columns by name, a DataFrame, `dspy.Example`s, or a path that ends
        in .jsonl, .json, .csv, .tsv or .parquet.

        - Every row has the same columns. A missing value is null (None), and NaN becomes None; a
          row without the column is an error, since the cause is mostly a misspelt name.
        - Values of a .csv are all text, as in the file: "007" stays "007", and an empty cell is "".
          The other forms keep their types. Commas, semicolons, tabs or bars separate them, as its
          header shows.
        - A .json holds a list of objects, or an object with a list for every column.
        - Rows of `mlflow.genai.evaluate`, such as `{"inputs": {...}, "expectations": {...}}`, and
          its evaluation datasets become a column for each input and each expectation.
        - Blank lines of a .jsonl are skipped, and so are blank rows at the end of a .csv, which
          spreadsheets leave behind.

        Args:
            data: where the examples come from.
            minimum: the fewest examples to accept. The default lets both sides of a split have one.

        Raises:
            DatasetError: what is wrong, and in which row, line or column.
        """
        if isinstance(data, Dataset):
            dataset, source = data, "the dataset"
        else:
            rows, source = rows_from(data)
            dataset = cls(*_examples(rows, source))
        if len(dataset) < minimum:
            why = "one to search on and one to hold out" if minimum == 2 else "to be of any use"
            raise DatasetError(
                f"at least {minimum} example{'s' * (minimum != 1)} are needed, {why}, "
                f"but {source} has {len(dataset)}"
            )
        return dataset

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the values; the order of the examples matters, that of columns does not.

        Values without a form in JSON count as their `str`.
        """
        hashed = hashlib.sha256()
        for number, example in enumerate(self._examples):
            row = {column: example[column] for column in self.columns}
            try:
                text = json.dumps(row, sort_keys=True, default=_plain)
            except (TypeError, ValueError) as error:
                problem = f"example {number} cannot be written as JSON: {error}"
                raise DatasetError(problem) from error
            hashed.update(text.encode() + b"\n")
        return hashed.hexdigest()

    def split(
        self, holdout: float, seed: int, inputs: Sequence[str] = ()
    ) -> tuple[Dataset, Dataset]:
        """The examples in a random order, cut in two: (to search on, held out).

        The order depends on `seed` alone, so that any first part of the search side is a fair
        sample, also of sorted data.

        Args:
            holdout: the held-out fraction, rounded to whole examples but leaving each side one;
                0 holds nothing out.
            seed: decides the order.
            inputs: examples that are equal in these columns go to the same side, so that no copy
                of a held-out example is searched on; a few less may be held out then.

        Raises:
            DatasetError: `0 <= holdout < 1` does not hold, or there are too few examples to cut.
        """
        if isinstance(holdout, bool) or not isinstance(holdout, Real) or not 0 <= holdout < 1:
            raise DatasetError(f"`0 <= holdout < 1` must hold (a fraction), but got {holdout!r}")
        if holdout > 0 and len(self) < 2:
            raise DatasetError(
                f"at least 2 examples are needed to hold out {holdout:g} of them, "
                f"but there are {len(self)}; holdout=0 needs none held out"
            )
        held = min(max(round(len(self) * holdout), 1), len(self) - 1) if holdout > 0 else 0
        order = [int(i) for i in np.random.default_rng(seed).permutation(len(self))]
        alike = self._alike(inputs)
        out: set[int] = set()
        for index in order:
            if len(out) + len(alike[index] - out) <= held:
                out |= alike[index]
        if held and not out:  # all of them come in large groups
            out = next((alike[index] for index in order if len(alike[index]) < len(self)), out)
        if held and not out:
            raise DatasetError(
                f"all {len(self)} examples have the same {', '.join(inputs)}, so that none can be "
                "held out that the search has not seen; holdout=0 needs none held out"
            )
        return (
            self.take([index for index in order if index not in out]),
            self.take([index for index in order if index in out]),
        )

    def _alike(self, columns: Sequence[str]) -> list[set[int]]:
        """For every example, those that are equal to it in these columns; itself, without any."""
        if not columns:
            return [{index} for index in range(len(self))]
        texts = [canonical_json([example[c] for c in columns]) for example in self._examples]
        places: dict[str, set[int]] = {}
        for index, text in enumerate(texts):
            places.setdefault(text, set()).add(index)
        return [places[text] for text in texts]

    def require(self, columns: Iterable[str], what: str) -> None:
        """Check that there are these columns, which `what` needs; warn of nulls in some rows.

        Raises:
            DatasetError: names the first one missing, the nearest one there is, and all there are;
                or one that is null, or an empty text, in every row.
        """
        for column in columns:
            if column not in self.columns:
                raise DatasetError(
                    f"{what} needs a column {column!r}, which the dataset does not have"
                    f"{nearest(column, self.columns)} (columns: {', '.join(self.columns)})"
                )
            if all(example[column] == "" for example in self._examples):
                raise DatasetError(
                    f"{what} needs the column {column!r}, which is empty in all rows"
                )
            missing = sum(example[column] is None for example in self._examples)
            if missing == len(self):
                raise DatasetError(f"{what} needs the column {column!r}, which is null in all rows")
            if missing:
                logger.warning(
                    "%d of %d rows have no %s (null), which %s needs",
                    missing, len(self), column, what,
                )  # fmt: skip

    def take(self, indices: Iterable[int]) -> Dataset:
        """The examples at these indices, in this order, with their row numbers."""
        places = list(indices)
        rows = [self.rows[i] for i in places]
        return Dataset((self._examples[i] for i in places), self.columns, rows)

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[dspy.Example]:
        return iter(self._examples)

    @overload
    def __getitem__(self, index: int) -> dspy.Example: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> dspy.Example | Dataset:
        if isinstance(index, slice):
            return Dataset(self._examples[index], self.columns, self.rows[index])
        return self._examples[index]

    def __repr__(self) -> str:
        return f"Dataset({len(self)} examples: {', '.join(self.columns)})"


def _examples(
    rows: Sequence[Mapping[str, Any] | dspy.Example], source: str
) -> tuple[list[dspy.Example], tuple[str, ...]]:
    """The rows as examples of our own, and their columns in the order of the first row."""
    first: tuple[str, ...] = ()
    examples = []
    for number, row in enumerate(rows, start=1):
        where = f"row {number} of {source}"
        if not isinstance(row, (Mapping, dspy.Example)):
            kind = type(row).__name__
            raise DatasetError(f"{where} is a {kind}; rows are dicts or dspy.Examples")
        values = {name: plain_value(value) for name, value in row.items()}
        first = first or tuple(values)
        _check_columns(first, values, where)
        _check_texts(values, where)
        example = dspy.Example(values)
        inputs = getattr(row, "_input_keys", None)
        examples.append(example if inputs is None else example.with_inputs(*inputs))
    return examples, first


def _check_columns(first: Sequence[str], row: Mapping[Any, Any], where: str) -> None:
    if not first:
        raise DatasetError(f"{where} has no columns")
    odd = [name for name in row if not isinstance(name, str)]
    if odd:
        raise DatasetError(f"{where} has the column {odd[0]!r}; names are text")
    missing = [name for name in first if name not in row]
    extra = [name for name in row if name not in first]
    if missing or extra:
        problem = f"has the column {extra[0]!r}, which row 1 lacks" if extra else ""
        if missing:
            has = f" but has {extra[0]!r}" if extra else ""
            problem = f"lacks the column {missing[0]!r} of row 1{has}"
        raise DatasetError(
            f"{where} {problem}; every row needs the same columns (null where there is no value)"
        )


def _check_texts(row: Mapping[str, Any], where: str) -> None:
    for column, value in row.items():
        try:
            if isinstance(value, str):
                value.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(
                f"{where} has half a character (U+{ord(value[error.start]):04X}) in the column "
                f"{column!r}, which no provider can receive; "
                "value.encode('utf-8', 'replace').decode() is without it"
            ) from error


def plain_value(value: Any) -> Any:
    """`value` as Python has it: numpy's scalars and arrays unpacked, NaN, NaT and NA as None."""
    if isinstance(value, np.ndarray):
        return [plain_value(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    missing = isinstance(value, float) and value != value
    return None if missing or type(value).__name__ in {"NaTType", "NAType"} else value


def _plain(value: Any) -> Any:
    """A stable JSON form for a value without one."""
    return sorted(value, key=repr) if isinstance(value, (set, frozenset)) else str(value)
