"""What long benchmarks share: runs that are kept in a file, so that a second start goes on, and
goals with what was measured."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from benchmarks.__main__ import HERE

TABLE_CODE = (
    "benchmarks/simulated_tables.py",
    "evaluators/score_table.py",
    "evaluators/racing/*.py",
    "evaluators/statistics/*.py",
    "optimizer/search/leading/earning.py",
    "optimizer/search/table_search.py",
    "optimizer/search/strategies/*.py",
)
"""What the outcome of a search on a table depends on."""
ALL_CODE = tuple(f"{room}/**/*.py" for room in ("search_spaces", "pipelines", "evaluators"))
ALL_CODE += ("optimizer/**/*.py", "benchmarks/searching.py", "benchmarks/worlds/*.py")
"""What the outcome of a search on a pipeline depends on."""

Key = TypeVar("Key", bound=NamedTuple)


class Goal(NamedTuple):
    """A goal, and how far it is reached."""

    what: str
    measured: str
    goal: str
    met: bool


class TableSearches(NamedTuple):
    """All searches of a benchmark on one table."""

    table: str
    seed: int


class LiveSearches(NamedTuple):
    """All searches of a benchmark on a pipeline."""

    seed: int


class FinishedRuns:
    """A file with a line of JSON for each finished run.

    Runs by another version of the code are not reused.
    """

    def __init__(self, path: Path, code: Sequence[str]) -> None:
        self.path = path
        self.code = code_digest(tuple(code))
        path.parent.mkdir(parents=True, exist_ok=True)

    def of(
        self, runs: Iterable[Key], make: Callable[[Key], Mapping[str, Any]], jobs: int = 1
    ) -> pd.DataFrame:
        """A row for each of the runs; those that are not in the file yet are made first.

        Args:
            runs: named tuples of strings and numbers, all of one type. Their fields are columns.
            make: from a run to the other columns, as JSON has them.
            jobs: how many processes make runs.
        """
        wanted = list(dict.fromkeys(runs))
        known = self._known(wanted)
        left = [run for run in wanted if run not in known]
        print(f"{len(wanted)} runs, {len(known)} of them found in {self.path}", flush=True)
        with (
            self.path.open("a", encoding="utf-8") as file,
            parallel_config("loky", inner_max_num_threads=1),
        ):
            made = Parallel(n_jobs=jobs, return_as="generator_unordered")(
                delayed(_made)(make, run) for run in left
            )
            for run, columns in tqdm(made, total=len(left), disable=None):
                row = {**run._asdict(), "code": self.code, **columns}
                file.write(json.dumps(row) + "\n")
                file.flush()
                known[run] = row
        return pd.DataFrame([known[run] for run in wanted])

    def _known(self, wanted: Sequence[Key]) -> dict[Key, dict[str, Any]]:
        kind, fields = type(wanted[0]), wanted[0]._fields
        rows = [row for row in self._rows() if set(fields) <= row.keys()]
        found = {kind(*(row[name] for name in fields)): row for row in rows}
        return {run: found[run] for run in wanted if run in found}

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Those by this version of the code; a line that a kill cut short is dropped."""
        if not self.path.is_file():
            return
        text = self.path.read_text(encoding="utf-8")
        if not text.endswith("\n"):
            text = text[: text.rfind("\n") + 1]
            self.path.write_text(text, encoding="utf-8")
        yield from (row for row in map(json.loads, text.splitlines()) if row["code"] == self.code)


def _made(make: Callable[[Key], Mapping[str, Any]], run: Key) -> tuple[Key, Mapping[str, Any]]:
    return run, make(run)


@cache
def code_digest(patterns: tuple[str, ...]) -> str:
    """Of all files of the repository that match."""
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(HERE.parent.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def goals_of(name: str, arguments: Sequence[str]) -> list[Goal]:
    """Run a benchmark that keeps its runs, by default in a scratch folder.

    Args:
        name: its file, which has `add_options(parser)` and `goals(options)`.
        arguments: of its command line.
    """
    benchmark = importlib.import_module(f"benchmarks.{name}")
    about = (benchmark.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(f"python -m benchmarks {name}", description=about)
    parser.add_argument("--jobs", type=int, default=2)
    scratch = Path(tempfile.gettempdir()) / "compound-optimizer" / f"{name}.jsonl"
    parser.add_argument("--results", type=Path, default=scratch, help="where finished runs are")
    benchmark.add_options(parser)
    goals: list[Goal] = benchmark.goals(parser.parse_args(arguments))
    return goals


def tell_goals(goals: Sequence[Goal]) -> None:
    """Print goals as a table."""
    rows = [(*goal[:3], "yes" if goal.met else "NO") for goal in goals]
    rows.insert(0, ("what", "measured", "goal", "met"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
