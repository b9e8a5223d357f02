"""Nothing to find: how often a gain is claimed where all choices are alike.

    python -m benchmarks nothing_to_find [--seeds 100] [--jobs 2] [--results FILE.jsonl]

Simulated tables of five shapes, `--seeds` of each, in which every combination solves an example
with the same probability. Each is searched as `optimize` does it: from a random combination in
place, on 70% of the examples, with and without a budget; the rest is held out, and what scores
less there than what was given is withdrawn. A table search knows no prices: how dear a choice is
was drawn, so that a change is a dearer one about half of the time.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.resuming import TABLE_CODE, FinishedRuns, Goal
from benchmarks.simulated_tables import TableWorld, search_and_hold_out

SHAPES: Mapping[str, tuple[tuple[int, ...], int]] = {
    "20 configs, 40 examples": ((20,), 40),
    "9 x 9, 30 examples": ((9, 9), 30),
    "9 x 9, 100 examples": ((9, 9), 100),
    "5 x 5 x 5, 60 examples": ((5, 5, 5), 60),
    "2 configs, 100 examples": ((2,), 100),
}
BUDGETS = (None, 300, 1000)
"""Calls, in turn."""
RIGHT = 0.95


class Run(NamedTuple):
    """One search to make."""

    shape: str
    seed: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=100, help="searches of each shape")


def goals(options: argparse.Namespace) -> list[Goal]:
    """Search, print a table by shape, and compare with the goals."""
    runs = [Run(shape, seed) for shape in SHAPES for seed in range(options.seeds)]
    found = FinishedRuns(options.results, TABLE_CODE).of(runs, search, options.jobs)
    print(f"{'':24} | no gain shown | search kept given | withdrawn | changed | and dearer")
    for shape, own in [*found.groupby("shape", sort=False), ("all", found)]:
        print(f"{shape:24} | {_told(own)}")
    quiet = float((~found["gain_shown"]).mean())
    no_dearer = float((~found["dearer"]).mean())
    what = f"nothing to find, {len(found)} searches"
    return [
        Goal(f"{what}: no gain shown", f"{quiet:.1%}", f"{RIGHT:.0%}", quiet >= RIGHT),
        Goal(
            f"{what}: unchanged or cheaper", f"{no_dearer:.1%}", f"{RIGHT:.0%}", no_dearer >= RIGHT
        ),
    ]


def _told(found: pd.DataFrame) -> str:
    kept = found["picked"] == found["given"]
    return (
        f"{(~found['gain_shown']).mean():13.1%} | {kept.mean():17.1%} | "
        f"{found['withdrawn'].mean():9.1%} | {found['changed'].mean():7.1%} | "
        f"{found['dearer'].mean():10.1%}"
    )


def search(run: Run) -> dict[str, Any]:
    """One search, its holdout, and what the user gets."""
    choices, examples = SHAPES[run.shape]
    world = TableWorld(choices, examples, effects=0.0, interactions=0.0)
    found = search_and_hold_out(world.table(run.seed), BUDGETS[run.seed % 3], run.seed)
    prices = np.random.default_rng(run.seed).lognormal(0.0, 1.0, (len(choices), max(choices)))

    def price(levels: Sequence[int]) -> float:
        return float(sum(prices[module, level] for module, level in enumerate(levels)))

    return {
        "given": str(found.given),
        "picked": str(found.picked),
        "withdrawn": found.withdrawn,
        "changed": found.final != found.given,
        "dearer": price(found.final) > price(found.given),
        "gain_shown": found.gain.low > 0,
    }
