"""Good, random, adversarial and unreadable diagnosers, beside none: quality and calls.

    python -m benchmarks diagnosers [--seeds 20] [--live-seeds 5] [--tables mathqa,pair]
        [--jobs 2] [--results FILE.jsonl]

On tables of scores, a good diagnoser rates a choice by its mean score on the example over all
combinations with it. On locate-solve with ten simulated models, all diagnosers answer over loopback
HTTP: a good one with the ratings of the ablest simulated diagnoser, an adversarial one with the
opposite. `auto` is what `optimize` takes by default: the model that did best alone. All searches
end by themselves. Quality is the mean score on the search examples, and calls include those to the
diagnoser on locate-solve, but not on tables.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.loopback import LoopbackServer
from benchmarks.resuming import (
    ALL_CODE,
    TABLE_CODE,
    FinishedRuns,
    Goal,
    LiveSearches,
    TableSearches,
)
from benchmarks.search_tables import is_there, table_of, words
from benchmarks.searching import Bench, mean_score
from benchmarks.worlds import MODELS, find_model, simulate, simulated_dataset
from evaluators.score_table import ScoreTable
from optimizer.search.table_search import Rater, search_table
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve

ABLEST = find_model("sim/elm")
"""Of the simulated models, the best diagnoser."""
EXAMPLES = 100
KINDS = ("good", "random", "adversarial", "unreadable")
QUALITY_GOAL, CALLS_GOAL = 0.003, 0.25


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--live-seeds", type=int, default=5)
    parser.add_argument("--tables", type=words, default=["mathqa", "pair"])


def goals(options: argparse.Namespace) -> list[Goal]:
    """Search, print quality and calls by diagnoser, and compare them with none."""
    tables = [name for name in options.tables if is_there(name)]
    rows: dict[str, pd.DataFrame] = {}
    if tables and options.seeds:
        runs = [TableSearches(name, seed) for name in tables for seed in range(options.seeds)]
        found = FinishedRuns(options.results, (*TABLE_CODE, "benchmarks/diagnosers.py"))
        rows |= {
            str(name): own for name, own in found.of(runs, on_table, options.jobs).groupby("table")
        }
    if options.live_seeds:
        seeds = [LiveSearches(seed) for seed in range(options.live_seeds)]
        live = FinishedRuns(options.results, (*ALL_CODE, "benchmarks/diagnosers.py"))
        rows["locate-solve"] = live.of(seeds, on_pipeline, options.jobs)
    return [goal for name, own in rows.items() for goal in _reached(name, own)]


def _reached(name: str, rows: pd.DataFrame) -> Iterator[Goal]:
    cells = pd.DataFrame(
        [
            {"kind": kind, "seed": seed, **figures}
            for seed, by_kind in zip(rows["seed"], rows["by_kind"], strict=True)
            for kind, figures in by_kind.items()
        ]
    )
    quality, calls, asked = (
        cells.pivot(index="seed", columns="kind", values=column)
        for column in ("quality", "calls", "asked")
    )
    best = quality.max(axis=1)
    print(f"\n{name}, {len(rows)} seeds: quality below the best found, calls, diagnoses")
    for kind in quality:
        regret = (best - quality[kind]).mean()
        print(
            f"{kind!s:12} | {regret:7.4f} | {calls[kind].mean():7,.0f} | {asked[kind].mean():7,.0f}"
        )
    for kind in quality.columns.drop("none"):
        gains = (quality[kind] - quality["none"]).to_numpy(dtype=float)
        gain = float(gains.mean())
        error = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
        yield Goal(
            f"diagnoser on {name}, {kind}: quality less that without one",
            f"{gain:+.4f} ±{error:.4f}" if asked[kind].any() else "never asked",
            f"-{QUALITY_GOAL}",
            gain >= -QUALITY_GOAL,
        )
    if name == "locate-solve":
        saved = 1 - float(calls["good"].mean() / calls["none"].mean())
        what = f"diagnoser on {name}, good: calls saved"
        yield Goal(what, f"{saved:.0%}", f"{CALLS_GOAL:.0%}", saved >= CALLS_GOAL)


def on_table(run: TableSearches) -> dict[str, Any]:
    """Score of the pick, calls, and questions to the diagnoser, by kind."""
    table = table_of(run.table, run.seed)
    means = table.scores.mean(axis=-1)
    by_kind = {}
    for kind in (*KINDS, "none"):
        asked: list[int] = []
        rater = None if kind == "none" else _rater(table, kind, run.seed, asked)
        found = search_table(table, "default", None, run.seed, diagnoser=rater)
        score = float(means[table.levels(found.pick)])
        by_kind[kind] = {"quality": score, "calls": found.calls, "asked": len(asked)}
    return {"by_kind": by_kind}


def _rater(table: ScoreTable, kind: str, seed: int, asked: list[int]) -> Rater:
    """A diagnoser of that kind, which notes the examples that it is asked about."""
    names = list(table.modules)

    def rate(module: str, choices: Mapping[str, Any], example: int) -> Sequence[float]:
        asked.append(example)
        number = names.index(module)
        others = tuple(axis for axis in range(len(names)) if axis != number)
        ratings = table.scores[..., example].mean(axis=others)
        if kind == "random":
            ratings = np.random.default_rng([seed, number, example]).random(len(ratings))
        by_kind = {"adversarial": 1 - ratings, "unreadable": np.full(len(ratings), math.nan)}
        return list(by_kind.get(kind, ratings))

    return rate


def on_pipeline(run: LiveSearches) -> dict[str, Any]:
    """Score of the incumbent, calls, and questions to the diagnoser, by kind."""
    with LoopbackServer(reply=_reply) as server:
        bench = Bench(
            locate_solve(),
            simulated_dataset("locate_solve", EXAMPLES, run.seed),
            [f"sim/{model.name}" for model in MODELS],
            Gateway(cache=None),
            seed=run.seed,
        )
        diagnosers: dict[str, Model | str | None] = {
            kind: Model(
                f"openai/{kind}",
                api_base=server.url,
                input_usd_per_million=ABLEST.input_usd_per_million,
                output_usd_per_million=ABLEST.output_usd_per_million,
            )
            for kind in KINDS
        }
        by_kind = {}
        for kind, diagnoser in {**diagnosers, "auto": "auto", "none": None}.items():
            bench.diagnoser = diagnoser
            state, calls = bench.search(kind)
            asked = state.evaluator.session.nominal.by_purpose.get("diagnoser")
            by_kind[kind] = {
                "quality": mean_score(state, state.incumbent),
                "calls": calls,
                "asked": asked.calls if asked else 0,
            }
    return {"by_kind": by_kind}


def _reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """What the diagnoser named in the request says: the ablest's reply with other ratings."""
    kind = params["model"]
    if kind == "unreadable":
        return "I would rather not rate anybody."
    text = simulate(ABLEST, messages, temperature=0.0).text
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    rerate: Callable[[int], int] = {
        "good": lambda rating: rating,
        "random": lambda _: int(rng.integers(11)),
        "adversarial": lambda rating: 10 - rating,
    }[kind]

    def rerated(match: re.Match[str]) -> str:
        return f"{match[1]}[{', '.join(str(rerate(int(n))) for n in match[2].split(','))}]"

    return re.sub(r"(\[\[ ## ratings ## \]\]\s*)\[([\d, ]+)\]", rerated, text)
