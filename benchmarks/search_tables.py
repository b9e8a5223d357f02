"""Search strategies on tables of scores: regret against calls, all strategies side by side.

    python -m benchmarks search_tables [--seeds 50] [--calls 1200,1500,2000,2500] [--jobs 2]
        [--tables mathqa,pair,trap] [--strategies default,halving] [--results FILE.jsonl]
        [--plot FILE.png]

`mathqa` holds the real outcomes of 9 answer models x 9 critics on 135 MathQA questions; it is not
part of this repository. The others are simulated, another table for each seed: `pair` has two
modules, `chain` three, and in `trap` the best pair consists of two choices that are below average
with all others. An answer is one call, which all critics share.

Every finished search is a line of the results file, by default in a scratch folder: a second run
goes on where the first one ended. Searches by another version of the code are not reused.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.__main__ import shared_data
from benchmarks.resuming import TABLE_CODE, FinishedRuns, Goal
from benchmarks.simulated_tables import TableWorld, ascents
from evaluators.racing.field import Run
from evaluators.score_table import ScoreTable
from optimizer.search.strategies import STRATEGIES, Arena
from optimizer.search.strategies.posterior_search import PosteriorSearch
from optimizer.search.table_search import TableSearch, search_table

MATHQA = "mathqa_outcomes.json.gz"
WORLDS = {
    "pair": TableWorld((9, 9)),
    "trap": TableWorld((9, 9), trap=0.3),
    "chain": TableWorld((7, 7, 7), examples=100),
}
GOALS = {1200: 0.010, 1500: 0.004, 2000: 0.0007, 2500: 0.0003}
"""Mean regret on MathQA, by calls."""
DEFAULT_CALLS = 2000
"""The budget of `search_table` where none is given."""
CALLS_FROM_START = 2800
STARTS_GOAL = 0.95
SHARES = np.linspace(0.1, 1.0, 10)


class Search(NamedTuple):
    """One search to make."""

    table: str
    strategy: str
    calls: int
    seed: int
    start: int = -1
    """Number of the combination in place; -1 without one."""


@dataclass
class Watched:
    """The default strategy, which remembers whether its last pick was held back by the 80% rule."""

    strategy: PosteriorSearch = field(default_factory=PosteriorSearch)
    name: str = "default"
    held_back: bool = False

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        return self.strategy.runs(arena)

    def pick(self, arena: Arena) -> int:
        picked, means = self.strategy.pick(arena), arena.posterior.mean
        highest = means[arena.field.complete].max(initial=-math.inf)
        self.held_back = arena.start is not None and bool(highest > means[picked])
        return picked


def goals(options: argparse.Namespace) -> list[Goal]:
    """Search, print the tables, draw the plot, and compare with the goals."""
    names = [name for name in options.tables if is_there(name)]
    grid = [
        Search(name, strategy, calls, seed)
        for seed in range(options.seeds)
        for name in names
        for strategy in options.strategies
        for calls in options.calls
    ]
    if "default" in options.strategies:
        grid += [
            Search(name, "default", DEFAULT_CALLS, seed)
            for name in names
            for seed in range(options.seeds)
        ]
        grid += [
            Search(name, "default", CALLS_FROM_START, start, start)
            for name in names
            for start in range(math.prod(table_of(name, 0).scores.shape[:-1]))[: options.starts]
        ]
    found = FinishedRuns(options.results, TABLE_CODE).of(grid, run, options.jobs)
    for name in names:
        tell_table(name, found[found["table"] == name], options)
    plot(found[found["start"] < 0], options)
    return list(_reached(found[found["strategy"] == "default"]))


def _reached(found: pd.DataFrame) -> Iterator[Goal]:
    """Regret on MathQA by calls, and how often the best pair is found from any in place."""
    mathqa = found[(found["table"] == "mathqa") & (found["start"] < 0)]
    for calls, goal in GOALS.items():
        regrets = mathqa[mathqa["calls"] == calls]["regret"]
        if len(regrets):
            mean = float(regrets.mean())
            what, told = f"MathQA: mean regret at {calls:,} calls", f"{mean:.4f}"
            yield Goal(what, told, f"{goal}", mean <= goal)
    started = found[(found["table"] == "mathqa") & (found["start"] >= 0)]
    if len(started):
        share = float((started["regret"] <= 0).mean())
        what = f"MathQA: best pair found from {len(started)} pairs in place"
        yield Goal(what, f"{share:.0%}", f"{STARTS_GOAL:.0%}", share >= STARTS_GOAL)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--calls", type=numbers, default=list(GOALS))
    parser.add_argument("--tables", type=words, default=["mathqa", "pair", "trap"])
    parser.add_argument("--strategies", type=words, default=list(STRATEGIES))
    parser.add_argument("--starts", type=int, default=None, help="so many starting pairs, or all")
    parser.add_argument("--plot", type=Path, default=None, help="by default beside the results")


def words(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in words(text)]


def is_there(name: str) -> bool:
    path = shared_data(MATHQA)
    there = name != "mathqa" or path.is_file()
    if not there:
        print(f"mathqa: skipped: no {path}; COMPOUND_OPTIMIZER_SHARED_DATA says where it is")
    return there


@lru_cache(maxsize=64)
def table_of(name: str, seed: int) -> ScoreTable:
    """The table of that name; simulated ones are drawn by seed."""
    if name != "mathqa":
        return WORLDS[name].table(seed)
    data = json.loads(gzip.decompress(shared_data(MATHQA).read_bytes()))
    modules = {"answer": data["answer_models"], "critic": data["critic_models"]}
    return ScoreTable(np.array(data["score"]), modules)


def run(search: Search) -> dict[str, Any]:
    """One search; its regret, and the regret of its picks against calls."""
    table = table_of(search.table, search.seed)
    means = table.scores.mean(axis=-1)
    start = None
    if search.start >= 0:
        start = table.choices(np.unravel_index(search.start, means.shape))  # type: ignore[arg-type]
    strategy = Watched() if start else STRATEGIES[search.strategy]
    found: TableSearch = search_table(table, strategy, search.calls, search.seed, start)

    def regret(pick: Mapping[str, Any]) -> float:
        return round(float(means.max() - means[table.levels(pick)]), 9)

    return {
        "made": found.calls,
        "regret": regret(found.pick),
        "held_back": isinstance(strategy, Watched) and strategy.held_back,
        "curve": [(calls, regret(pick)) for calls, pick in found.curve],
    }


def tell_table(name: str, found: pd.DataFrame, options: argparse.Namespace) -> None:
    """Print regrets by strategy and calls, the anytime check, and what starting pairs lead to."""
    means = table_of(name, 0).scores.mean(axis=-1)
    ascended = means.max() - np.array(list(ascents(means)))
    print(
        f"\n== {name}: {' x '.join(map(str, means.shape))} choices; best {means.max():.4f}, mean "
        f"{means.mean():.4f}; coordinate ascent with perfect information finds the best from "
        f"{np.mean(ascended <= 0):.0%} of starts, mean regret {ascended.mean():.4f}"
        + ("" if name == "mathqa" else " (the table of seed 0)")
    )
    print(f"mean regret ± standard error (calls made) over {options.seeds} seeds")
    print(f"{'calls at most':21} | " + " | ".join(f"{c:>22,}" for c in options.calls))
    free = found[found["start"] < 0]
    for strategy in options.strategies:
        cells = []
        for calls in options.calls:
            own = free[(free["strategy"] == strategy) & (free["calls"] == calls)]
            error = own["regret"].sem() if len(own) > 1 else math.nan
            cells.append(f"{own['regret'].mean():.4f} ±{error:.4f} ({own['made'].mean():6,.0f})")
        print(f"{strategy:21} | " + " | ".join(cells))
    if name == "mathqa":
        goals = (f"{GOALS[c]:.4f}" if c in GOALS else "" for c in options.calls)
        print(f"{'goal':21} | " + " | ".join(f"{goal:22}" for goal in goals))
    default = free[(free["strategy"] == "default") & (free["calls"] == DEFAULT_CALLS)]
    if len(default):
        tell_anytime(default)
        tell_starts(name, found[found["start"] >= 0])


def tell_anytime(default: pd.DataFrame) -> None:
    """Print the mean regret along searches of the default budget."""
    regrets = _along(default["curve"], SHARES * DEFAULT_CALLS)
    means = np.nanmean(regrets, axis=0)
    told = ", ".join(f"{s:.0%} {mean:.4f}" for s, mean in zip(SHARES, means, strict=True))
    print(f"default, regret along a search of {DEFAULT_CALLS:,} calls: {told}")
    rises = np.diff(regrets, axis=1)
    worst = int(np.nanargmax(np.nanmean(rises, axis=0)))
    error = np.nanstd(rises[:, worst], ddof=1) / math.sqrt(len(rises)) if len(rises) > 1 else 0.0
    print(
        f"largest rise from a tenth to the next: {np.nanmean(rises[:, worst]):+.4f} ±{error:.4f} "
        f"(to {SHARES[worst + 1]:.0%})"
    )


def tell_starts(name: str, found: pd.DataFrame) -> None:
    """Print how often the best combination is found from any that is in place."""
    one = 1 / table_of(name, 0).examples + 1e-9
    near, held = found["regret"] <= one, found["held_back"]
    print(
        f"default with a combination in place, {CALLS_FROM_START:,} calls: from {len(found)} "
        f"starts the pick is the best in {(found['regret'] <= 0).mean():.0%}, within one example "
        f"of it in {near.mean():.0%}; mean regret {found['regret'].mean():.4f}, worst "
        f"{found['regret'].max():.4f}. The 80% rule kept the start in {held.mean():.0%}; in "
        f"{(held & ~near).mean():.0%} that cost more than one example"
    )


def _along(curves: Iterable[Sequence[Sequence[float]]], calls: np.ndarray) -> np.ndarray:
    """Searches x calls: the regret of the pick at so many calls, NaN before there is one."""
    rows = []
    for curve in curves:
        made, regrets = np.array(curve).T
        place = np.searchsorted(made, calls, side="right") - 1
        rows.append(np.where(place >= 0, regrets[place], math.nan))
    return np.array(rows)


def plot(found: pd.DataFrame, options: argparse.Namespace) -> None:
    """Regret against calls: lines along the longest searches, points where each budget ends."""
    names = list(dict.fromkeys(found["table"]))
    figure, panels = plt.subplots(
        len(names), 1, figsize=(8, 3.5 * len(names)), squeeze=False, layout="constrained"
    )
    most = max(options.calls)
    grid = np.linspace(0, most, 200)
    for name, panel in zip(names, panels[:, 0], strict=True):
        for number, strategy in enumerate(options.strategies):
            own = found[(found["table"] == name) & (found["strategy"] == strategy)]
            along = _along(own[own["calls"] == most]["curve"], grid)
            shown = ~np.isnan(along).any(axis=0)
            label = {"color": f"C{number}"}
            panel.plot(grid[shown], along[:, shown].mean(axis=0), **label)
            ends = own[own["calls"].isin(options.calls)].groupby("calls")
            mean = ends[["made", "regret"]].mean()
            panel.errorbar(
                mean["made"], mean["regret"], ends["regret"].sem().fillna(0.0), fmt="o",
                label=strategy, **label,
            )  # fmt: skip
        panel.set(title=name, xlabel="distinct calls", ylabel="regret of the pick")
        panel.set_yscale("symlog", linthresh=0.001)
        panel.set_ylim(bottom=0)
        panel.legend()
    path = options.plot or options.results.with_suffix(".png")
    figure.savefig(path, dpi=150)
    print(f"\nplot: {path} (lines: along searches of {most:,} calls; points: their ends)")
