"""Anytime: does a larger budget ever bring something worse?

    python -m benchmarks anytime [--seeds 50] [--live-seeds 5] [--tables mathqa,pair,trap,chain]
        [--jobs 2] [--results FILE.jsonl]

On tables of scores, each of ten shares of the default budget is a search of its own, from a random
combination in place; the regrets of adjacent shares are compared over the seeds, in pairs. A rise
counts if it exceeds two standard errors, corrected for the number of comparisons (Bonferroni) and
of seeds (Student).

Then the same search of locate-solve is cut off at ten budgets, from what the baseline takes to all
that it would make by itself; what it returns is scored on fresh examples.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from benchmarks.resuming import (
    ALL_CODE,
    TABLE_CODE,
    FinishedRuns,
    Goal,
    LiveSearches,
    TableSearches,
)
from benchmarks.search_tables import DEFAULT_CALLS, SHARES, is_there, table_of, words
from benchmarks.searching import Bench, mean_score
from benchmarks.worlds import MODELS, simulated_dataset
from optimizer.search.table_search import search_table
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.patterns import locate_solve

EXAMPLES, FRESH, FRESH_SEED = 60, 200, 9000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--live-seeds", type=int, default=5)
    parser.add_argument("--tables", type=words, default=["mathqa", "pair", "trap", "chain"])


def goals(options: argparse.Namespace) -> list[Goal]:
    """Search at all shares, print regrets by share, and look for rises."""
    tables = [name for name in options.tables if is_there(name)]
    regrets = {}
    if tables and options.seeds:
        runs = [TableSearches(name, seed) for name in tables for seed in range(options.seeds)]
        found = FinishedRuns(options.results, TABLE_CODE).of(runs, on_table, options.jobs)
        regrets = {f"{name}, table": own for name, own in _by_name(found)}
    if options.live_seeds:
        seeds = [LiveSearches(seed) for seed in range(options.live_seeds)]
        code = (*ALL_CODE, "benchmarks/anytime.py")
        live = FinishedRuns(options.results, code).of(seeds, on_pipeline, options.jobs)
        regrets["locate-solve, live"] = np.array(live["regrets"].tolist())
    print(f"{'mean regret at':20} | " + " | ".join(f"{share:6.0%}" for share in SHARES))
    for name, values in regrets.items():
        print(f"{name:20} | " + " | ".join(f"{mean:6.4f}" for mean in values.mean(axis=0)))
    return list(_reached(regrets))


def _by_name(found: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    for name, own in found.groupby("table", sort=False):
        yield str(name), np.array(own["regrets"].tolist())


def _reached(regrets: Mapping[str, np.ndarray]) -> Iterator[Goal]:
    """Of each, the largest rise in standard errors, which noise alone may reach."""
    one_tail = float(norm.sf(2.0)) / (len(regrets) * (len(SHARES) - 1))
    for name, values in regrets.items():
        seeds, rises = len(values), np.diff(values, axis=1)
        mean = rises.mean(axis=0)
        if seeds > 1:
            error = rises.std(axis=0, ddof=1) / math.sqrt(seeds)
            ratios = np.divide(mean, error, out=np.where(mean > 0, np.inf, 0.0), where=error > 0)
        else:  # one search says nothing of noise
            ratios = np.zeros_like(mean)
        worst, most = int(ratios.argmax()), float(t.isf(one_tail, max(1, seeds - 1)))
        rise = f"{mean[worst]:+.4f} at {SHARES[worst + 1]:.0%}"
        yield Goal(
            f"anytime, {name}: largest rise of regret over {seeds} seeds",
            f"{ratios[worst]:.1f} standard errors ({rise})",
            f"{most:.1f}",
            bool(ratios[worst] <= most),
        )


def on_table(run: TableSearches) -> dict[str, Any]:
    """The regret of a search at each share of the budget."""
    table = table_of(run.table, run.seed)
    means = table.scores.mean(axis=-1)
    place = int(np.random.default_rng(run.seed).integers(means.size))
    start = table.choices([int(level) for level in np.unravel_index(place, means.shape)])
    regrets = []
    for share in SHARES:
        found = search_table(table, "default", round(share * DEFAULT_CALLS), run.seed, start)
        regrets.append(float(means.max() - means[table.levels(found.pick)]))
    return {"regrets": regrets}


def on_pipeline(run: LiveSearches) -> dict[str, Any]:
    """What a search returns at each share of its calls, below the best of these on fresh examples.

    The shares are those of the calls that follow the baseline, which any budget must pay for.
    """
    gateway = Gateway(cache=None)
    models = [f"sim/{model.name}" for model in MODELS]
    rows = simulated_dataset("locate_solve", EXAMPLES, run.seed)
    bench = Bench(locate_solve(), rows, models, gateway, seed=run.seed)
    least = bench.plan().least_calls
    _, calls = bench.search("whole")
    unseen = simulated_dataset("locate_solve", FRESH, FRESH_SEED + run.seed)
    fresh = Bench(locate_solve(), unseen, models, gateway).state("fresh")
    scores = []
    for share in SHARES:
        budget = round(least + share * (calls - least))
        state, _ = bench.search(f"{share:.0%}", Budget(calls=budget))
        scores.append(mean_score(fresh, state.incumbent))
    return {"regrets": [max(scores) - score for score in scores], "calls": calls}
