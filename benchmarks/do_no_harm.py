"""Do no harm: searches that begin at the true optimum, and what the user gets from them.

    python -m benchmarks do_no_harm [--seeds 10] [--fresh 400] [--jobs 2] [--results FILE.jsonl]

Locate-solve with ten simulated models. The mix in place is the best of all 100 on unseen examples,
found by enumeration. Every seed searches four times: from 30 and from 60 examples, by allocation
alone and by all stages. The budgets of the seeds range from 5% more than the baseline and the
holdout take to twelve times that. What the user gets, after holdout and withdrawal, is compared
with what was given on further fresh examples.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.resuming import ALL_CODE, FinishedRuns, Goal
from benchmarks.searching import Bench, every_allocation, mean_score
from benchmarks.worlds import MODELS, simulated_dataset
from optimizer.search.records.trial import config_text
from pipelines import Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.patterns import locate_solve

STAGES = {"allocation": ("allocation",), "all": ("allocation", "structure", "prompts")}
CELLS = tuple(product((30, 60), STAGES))
TIMES = np.geomspace(1.05, 12.0, 10)[[0, 9, 5, 2, 7, 1, 8, 4, 6, 3]]
"""Budgets by seed, as multiples of what the baseline and the holdout take; the first few seeds are
spread over all of them."""
ENUMERATED, FRESH = 7000, 8000
"""Seeds of the examples on which the optimum is found, and of those that score results."""
SCREENED, BEHIND = 100, 0.15
"""Mixes that are so far behind the best on the first so many examples are run on no more."""
DEARER = 1.01
MEAN_GOAL, WORST_GOAL, DEARER_GOAL = -0.3, -2.0, 0.05


class Enumeration(NamedTuple):
    """The search for the optimum."""

    unseen: int


class Searches(NamedTuple):
    """The four searches of a seed, from one mix."""

    seed: int
    fresh: int
    locate: str
    solve: str


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--fresh", type=int, default=400, help="examples that score the results")


def goals(options: argparse.Namespace) -> list[Goal]:
    """Find the optimum, search from it, print every search, and compare with the goals."""
    finished = FinishedRuns(options.results, (*ALL_CODE, "benchmarks/do_no_harm.py"))
    best = finished.of([Enumeration(400)], enumerate_mixes).iloc[0]
    print(f"optimum: {best['locate']} + {best['solve']}, {best['score']:.3f}")
    runs = [
        Searches(seed, options.fresh, best["locate"], best["solve"])
        for seed in range(options.seeds)
    ]
    rows = finished.of(runs, searches, options.jobs)
    found = pd.DataFrame([cell for cells in rows["cells"] for cell in cells])
    print(found.to_string(index=False, float_format="{:.3f}".format))
    change, dearer = 100 * found["change"], found["dearer"]
    cheaper = found["cost"] < 1 / DEARER
    print(
        f"{len(found)} searches: changed {found['changed'].sum()}, withdrawn "
        f"{found['withdrawn'].sum()}, worse {(change < 0).sum()}, better {(change > 0).sum()}, "
        f"dearer {dearer.sum()} (and no better {(dearer & (change <= 0)).sum()}), cheaper "
        f"{cheaper.sum()}; nothing was tried in {(found['tried'] == 0).sum()}, mostly since all "
        "search examples were solved as it is"
    )
    what, most = f"do no harm, {len(found)} searches", DEARER_GOAL * len(found)
    return [
        Goal(f"{what}: mean change, points", f"{change.mean():+.2f}", f"{MEAN_GOAL}",
             bool(change.mean() >= MEAN_GOAL)),
        Goal(f"{what}: worst change, points", f"{change.min():+.2f}", f"{WORST_GOAL}",
             bool(change.min() >= WORST_GOAL)),
        Goal(f"{what}: dearer", f"{dearer.sum()}", f"{most:g}", bool(dearer.sum() <= most)),
    ]  # fmt: skip


def enumerate_mixes(run: Enumeration) -> Mapping[str, Any]:
    """The best of all mixes on unseen examples."""
    state = _bench(locate_solve(), run.unseen, ENUMERATED, Gateway(cache=None)).state("all")
    screened = state.examples[:SCREENED]
    mixes = list(every_allocation(state))
    first = [state.evaluator.evaluate(config, screened).mean for config in mixes]
    near = [c for c, mean in zip(mixes, first, strict=True) if mean >= max(first) - BEHIND]
    best = max(near, key=lambda config: mean_score(state, config))
    (locate,), (solve,) = (best.allocation[module] for module in ("locate", "solve"))
    return {"locate": locate, "solve": solve, "score": mean_score(state, best)}


def searches(run: Searches) -> Mapping[str, Any]:
    """All cells of a seed, which share their calls."""
    gateway = Gateway(cache=None)
    given = locate_solve()
    models = {"locate": run.locate, "solve": run.solve}
    modules = [replace(module, model=models[module.name]) for module in given.modules]
    pipeline = Pipeline(given.name, modules)
    fresh = _bench(pipeline, run.fresh, FRESH + run.seed, gateway).state("fresh")
    cells = []
    for examples, stages in CELLS:
        bench = _bench(pipeline, examples, run.seed, gateway)
        bench = replace(bench, holdout=0.3, seed=run.seed, stages=STAGES[stages])
        calls = round(bench.plan().least_calls * TIMES[run.seed % len(TIMES)])
        result = bench.result(f"{examples} {stages}", Budget(calls=calls))
        change, cost = 0.0, 1.0
        if result.config != result.baseline_config:
            before, after = (
                fresh.evaluator.evaluate(config, fresh.examples)
                for config in (result.baseline_config, result.config)
            )
            change = after.mean - before.mean
            cost = after.usd_per_example / before.usd_per_example
        cells.append(
            {
                "seed": run.seed,
                "examples": examples,
                "stages": stages,
                "budget": calls,
                "calls": result.spent.calls,
                "tried": len(result.trials_) - 1,
                "changed": result.config != result.baseline_config,
                "withdrawn": result.withdrawn is not None,
                "change": change,
                "cost": cost,
                "dearer": cost > DEARER,
                "config": config_text(result.config),
            }
        )
    return {"cells": cells}


def _bench(pipeline: Pipeline, examples: int, seed: int, gateway: Gateway) -> Bench:
    rows = simulated_dataset("locate_solve", examples, seed)
    return Bench(pipeline, rows, [f"sim/{model.name}" for model in MODELS], gateway)
