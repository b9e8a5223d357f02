"""Routes by category over recorded models: held-out gain and cost, beside plain rules and votes.

    python -m benchmarks routing --recording mmlu_pro_recorded.jsonl.gz [--splits 20]

Real answers of seven mid-size models to MMLU-Pro questions; no model is called. The search begins
with the dearest model, which is also the best, and may choose any model, vote, cascade or route;
once for quality, and once for the cheapest as good as the best single model. The rivals know
what every model answered to the search examples: the best single model there, the best model of
each category, and votes. The oracle takes, for each question, a model that is right if there is one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.recorded_votes import HOLDOUT, MODELS, points
from benchmarks.searching import Bench
from benchmarks.splits import over_splits
from evaluators.evaluator import Evaluator
from evaluators.objective import Objective
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers.recorded import recorded_dataset
from search_spaces import ModuleConfig, PipelineConfig, SearchSpace


class Split(NamedTuple):
    """Held-out scores, and dollars per example as shares of the best single model's."""

    single: float
    oracle: float
    ours: float
    ours_usd: float
    cheapest: float
    cheapest_usd: float
    table: float
    table_usd: float
    vote_of_three: float
    vote_of_three_usd: float
    vote_of_all: float
    vote_of_all_usd: float
    calls: float
    """Of our search for quality, as a share of asking all models about all search examples."""
    routes: float
    """1 if it chose a route."""


def main() -> None:
    print(" | ".join(["split", *Split._fields]))
    rows = []
    for seed, row in over_splits(__doc__ or "", run_split):
        rows.append(row)
        print(f"{seed:5d} | " + " | ".join(f"{figure:.4g}" for figure in row), flush=True)
    summarise(pd.DataFrame(rows, columns=Split._fields))


def run_split(recording: str, seed: int) -> Split:
    """Both searches and the rivals on one split."""
    quality = bench(recording, seed, Objective())
    state, calls = quality.search()
    cheapest, _ = bench(recording, seed, Objective(within=0.0, of="single_model")).search()
    plan = quality.plan()
    session = quality.gateway.session("held out")
    fresh = Evaluator(plan.pipeline, plan.models, plan.holdout, state.evaluator.metric, session)
    places = range(len(plan.holdout))

    def held_out(config: PipelineConfig) -> tuple[float, float]:
        known = fresh.evaluate(config, places)
        return known.mean, known.usd_per_example

    labels = list(plan.models)
    alone = [state.baseline.with_models({"solve": label}) for label in labels]
    searched = np.array(
        [list(state.evaluator.evaluate(c, state.examples).scores.values()) for c in alone]
    )
    order = np.argsort(-searched.mean(axis=1), kind="stable")
    single, single_usd = held_out(alone[order[0]])
    known = [fresh.evaluate(config, places) for config in alone]
    scores = np.array([[each.scores[i] for i in places] for each in known])
    usd = np.array([[each.outcomes[i].usd for i in places] for each in known])
    categories = np.array([example["category"] for example in plan.search])
    best = {c: searched[:, categories == c].mean(axis=1).argmax() for c in set(categories)}
    picks = np.array([best.get(example["category"], order[0]) for example in plan.holdout])
    votes = [held_out(vote([labels[place] for place in order[:width]])) for width in (3, 7)]
    ours = held_out(state.incumbent)
    cheap = held_out(cheapest.incumbent)
    table = scores[picks, places].mean(), usd[picks, places].mean()
    rivals = [(score, cost / single_usd) for score, cost in (ours, cheap, table, *votes)]
    aggregation = state.incumbent.modules["solve"].aggregation
    return Split(
        single,
        scores.max(axis=0).mean(),
        *(figure for rival in rivals for figure in rival),
        calls / searched.size,
        float(aggregation is not None and aggregation.name == "route"),
    )


def vote(labels: list[str]) -> PipelineConfig:
    """A vote of these models, ties going to the earlier ones."""
    module = ModuleConfig(models=tuple(labels), width=len(labels), aggregator="majority_vote")
    return PipelineConfig(modules={"solve": module})


def bench(recording: str, seed: int, objective: Objective) -> Bench:
    """The search on one split."""
    return Bench(
        pipeline=Pipeline("question", [Module("solve", "question, category -> answer")]),
        rows=recorded_dataset(recording),
        models=[
            Model(f"recorded/{name}", label=name, params={"recording": recording})
            for name in MODELS
        ],
        gateway=Gateway(cache=None),
        diagnoser=None,
        holdout=HOLDOUT,
        seed=seed,
        stages=("allocation", "structure"),
        space=SearchSpace(
            width=(1, 3, 7),
            temperature=(),
            aggregator=("majority_vote", "route"),
            distinct_models=True,
        ),
        objective=objective,
    )


def summarise(found: pd.DataFrame) -> None:
    """The figures that the documentation quotes."""
    single, gap = found["single"], found["oracle"] - found["single"]
    print(
        f"\nbest single model: {100 * single.mean():.2f}, oracle {100 * found['oracle'].mean():.2f}"
    )
    for name in ("ours", "cheapest", "table", "vote_of_three", "vote_of_all"):
        gains = found[name] - single
        print(
            f"{name}: {points(gains.to_numpy())}, cost {found[f'{name}_usd'].mean():.2f}; "
            f"of the gap {points((gains / gap).to_numpy())}"
        )
    print(f"calls {found['calls'].mean():.2f}; routes in {found['routes'].mean():.0%} of splits")


if __name__ == "__main__":
    main()
