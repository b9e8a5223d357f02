"""How often the held-out interval of a search's gain covers the true gain.

    python -m benchmarks held_out_coverage [--seeds 250] [--jobs 2] [--results FILE.jsonl]

Simulated tables of four kinds, `--seeds` of each, whose true means are known: those over all
possible examples. Each is searched as `optimize` does it: from a random combination in place, on
70% of the examples, with and without a budget; the rest is held out, and what scores less there
than what was given is withdrawn. The reported gain is then 0, exactly and rightly, as where the
search kept what was given; how often the interval beside it, of what the search chose, covers the
truth stands in a column of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.resuming import TABLE_CODE, FinishedRuns, Goal
from benchmarks.simulated_tables import TableWorld, search_and_hold_out

WORLDS: Mapping[str, TableWorld] = {
    "20 configs, 60 examples": TableWorld((20,), 60),
    "9 x 9, 100 examples": TableWorld((9, 9), 100),
    "9 x 9, trap, 200 examples": TableWorld((9, 9), 200, trap=0.3),
    "5 x 5 x 5, small effects, 100": TableWorld((5, 5, 5), 100, effects=0.15, interactions=0.1),
}
BUDGETS = (None, 300, 1000)
"""Calls, in turn."""
COVERED = 0.94


class Run(NamedTuple):
    """One search to make."""

    world: str
    seed: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=250, help="searches of each world")


def goals(options: argparse.Namespace) -> list[Goal]:
    """Search, print a table by world, and compare with the goal."""
    runs = [Run(world, seed) for world in WORLDS for seed in range(options.seeds)]
    found = FinishedRuns(options.results, TABLE_CODE).of(runs, search, options.jobs)
    found["covers"] = (found["low"] <= found["truth"]) & (found["truth"] <= found["high"])
    print(
        f"{'coverage of':29} | reported gain | where changed | of what was chosen | changed | "
        "withdrawn (rightly) | mean true gain"
    )
    for world, own in [*found.groupby("world", sort=False), ("all", found)]:
        print(f"{world:29} | {_told(own)}")
    covered, changed = int(found["covers"].sum()), found[found["changed"]]
    conditional = changed["covers"].mean()
    return [
        Goal(
            f"{len(found)} searches: held-out interval covers the true gain",
            f"{covered} ({conditional:.1%} of those that change anything)",
            f"{COVERED * len(found):.0f}",
            covered >= COVERED * len(found),
        )
    ]


def _told(found: pd.DataFrame) -> str:
    changed, chosen = found[found["changed"]], found[found["picks"]]
    of_chosen = (chosen["chosen_low"] <= chosen["chosen_truth"]) & (
        chosen["chosen_truth"] <= chosen["chosen_high"]
    )
    withdrawn = found[found["withdrawn"]]
    rightly = (withdrawn["chosen_truth"] < 0).sum()
    return (
        f"{found['covers'].mean():13.1%} | {changed['covers'].mean():13.1%} | "
        f"{of_chosen.mean():18.1%} | {len(changed):7} | {len(withdrawn):9} "
        f"{f'({rightly})':>9} | {found['truth'].mean():+.4f}"
    )


def search(run: Run) -> dict[str, Any]:
    """One search with its held-out gain, as reported and of what was chosen, and the truth."""
    world = WORLDS[run.world]
    found = search_and_hold_out(world.table(run.seed), BUDGETS[run.seed % 3], run.seed)
    means = world.truth(run.seed)
    return {
        "picks": found.picked != found.given,
        "withdrawn": found.withdrawn,
        "changed": found.final != found.given,
        "truth": float(means[found.final] - means[found.given]),
        "low": found.gain.low,
        "high": found.gain.high,
        "chosen_truth": float(means[found.picked] - means[found.given]),
        "chosen_low": found.measured.low,
        "chosen_high": found.measured.high,
    }
