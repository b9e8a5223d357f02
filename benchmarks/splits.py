"""A benchmark on recorded answers, over many splits into search examples and holdout."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from joblib import Parallel, delayed

Figures = tuple[float, ...]


def over_splits(
    about: str, run_split: Callable[[str, int], Figures]
) -> Iterator[tuple[int, Figures]]:
    """Every split's number and figures, in order, as the command line asks for them.

    Args:
        about: the benchmark's docstring.
        run_split: from the recording's path and the split's number to its figures.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    started = time.perf_counter()
    rows = Parallel(n_jobs=options.jobs, return_as="generator")(
        delayed(run_split)(str(options.recording), seed) for seed in range(options.splits)
    )
    yield from enumerate(rows)
    print(f"{time.perf_counter() - started:.0f} s")
