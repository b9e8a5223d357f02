"""Routes by category over recorded models: held-out gain and cost, beside plain rules and votes.

    python -m benchmarks recorded_routes --recording mmlu_pro_recorded.jsonl.gz [--splits 8]

Real answers of seven mid-size models to MMLU-Pro questions; no model is called. The search begins
with the best and most expensive model, and may choose any model, or a route over them: once for
quality, once for the cheapest as good as the best single model, and once for quality where votes
are allowed too.

The rivals know what every model answered to all search examples: the best single model, the best
model of each category, and votes. The oracle takes, for each question, a model that is right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.recorded_votes import HOLDOUT, MODELS, points
from benchmarks.searching import Bench
from benchmarks.splits import over_splits
from evaluators.evaluator import Evaluator
from evaluators.objective import QUALITY, Objective
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers.recorded import recorded_dataset
from search_spaces import ModuleConfig, PipelineConfig, SearchSpace

SOLVER = "solve"
AS_GOOD_AS_SINGLE = Objective(within=0.0, of="single_model")
WAYS = ("route", "cheapest_route", "route_or_vote", "table", "vote_of_three", "vote_of_seven")


class Found(NamedTuple):
    """One way on the holdout."""

    score: float
    usd: float
    """Dollars per example."""


class Split(NamedTuple):
    """Held-out scores, and what each costs as a share of the best single model."""

    single: float
    oracle: float
    route: float
    route_usd: float
    cheapest_route: float
    cheapest_route_usd: float
    route_or_vote: float
    route_or_vote_usd: float
    table: float
    table_usd: float
    vote_of_three: float
    vote_of_three_usd: float
    vote_of_seven: float
    vote_of_seven_usd: float
    calls: float
    """Of the first search, as a share of asking all models about all search examples."""
    routes: float
    """In how many of the three searches a route was chosen."""


def main() -> None:
    print(" | ".join(["split", *Split._fields]))
    rows = []
    for seed, row in over_splits(__doc__ or "", run_split):
        rows.append(row)
        print(f"{seed:5d} | " + " | ".join(f"{figure:.4g}" for figure in row), flush=True)
    summarise(pd.DataFrame(rows, columns=Split._fields))


def run_split(recording: str, seed: int) -> Split:
    """The searches and their rivals on one split."""
    gateway = Gateway(cache=None)
    quality = bench(recording, seed, gateway)
    state, calls = quality.search()
    others = (
        bench(recording, seed, gateway, objective=AS_GOOD_AS_SINGLE),
        bench(recording, seed, gateway, aggregators=("majority_vote", "route")),
    )
    chosen = [state.incumbent, *(other.search()[0].incumbent for other in others)]
    plan = quality.plan()
    fresh = Evaluator(
        plan.pipeline,
        plan.models,
        plan.holdout,
        state.evaluator.metric,
        gateway.session("held out"),
    )
    places = range(len(plan.holdout))

    def held_out(config: PipelineConfig) -> Found:
        known = fresh.evaluate(config, places)
        return Found(known.mean, known.usd_per_example)

    labels = list(plan.models)
    alone = [state.baseline.with_models({SOLVER: label}) for label in labels]
    searched = np.array(
        [list(state.evaluator.evaluate(one, state.examples).scores.values()) for one in alone]
    )
    order = np.argsort(-searched.mean(axis=1), kind="stable")
    categories = np.array([example["category"] for example in plan.search])
    best = {c: searched[:, categories == c].mean(axis=1).argmax() for c in set(categories)}
    picks = np.array([best.get(example["category"], order[0]) for example in plan.holdout])
    known = [fresh.evaluate(config, places) for config in alone]
    scores = np.array([[each.scores[i] for i in places] for each in known])
    usd = np.array([[each.outcomes[i].usd for i in places] for each in known])
    table = Found(scores[picks, places].mean(), usd[picks, places].mean())
    votes = [held_out(vote([labels[place] for place in order[:width]])) for width in (3, 7)]
    single = held_out(alone[order[0]])
    ways = [*map(held_out, chosen), table, *votes]
    figures = [figure for way in ways for figure in (way.score, way.usd / single.usd)]
    routes = float(sum(map(is_route, chosen)))
    oracle = scores.max(axis=0).mean()
    return Split._make([single.score, oracle, *figures, calls / searched.size, routes])


def bench(
    recording: str,
    seed: int,
    gateway: Gateway,
    objective: Objective = QUALITY,
    aggregators: tuple[str, ...] = ("route",),
) -> Bench:
    """One search on one split."""
    return Bench(
        pipeline=Pipeline("question", [Module(SOLVER, "question, category -> answer")]),
        rows=recorded_dataset(recording),
        models=[
            Model(f"recorded/{name}", label=name, params={"recording": recording})
            for name in MODELS
        ],
        gateway=gateway,
        diagnoser=None,
        holdout=HOLDOUT,
        seed=seed,
        stages=("allocation", "structure"),
        space=SearchSpace(
            width=(1, 3, 7), temperature=(), aggregator=aggregators, distinct_models=True
        ),
        objective=objective,
    )


def vote(labels: list[str]) -> PipelineConfig:
    """A vote of these models, ties going to the earlier ones."""
    module = ModuleConfig(models=tuple(labels), width=len(labels), aggregator="majority_vote")
    return PipelineConfig(modules={SOLVER: module})


def is_route(config: PipelineConfig) -> bool:
    """Whether the config asks its members in a learned order."""
    aggregation = config.modules[SOLVER].aggregation
    return aggregation is not None and aggregation.name == "route"


def summarise(found: pd.DataFrame) -> None:
    """The figures that the documentation quotes."""
    single, gap = found["single"], found["oracle"] - found["single"]
    print(f"\nbest single model {single.mean():.4f}, oracle {found['oracle'].mean():.4f}")
    for way in WAYS:
        gains = found[way] - single
        print(
            f"{way}: {points(gains.to_numpy())} at {found[f'{way}_usd'].mean():.2f} of its cost; "
            f"share of the gap in percent: {points((gains / gap).to_numpy())}"
        )
    chosen = found["routes"].sum() / (3 * len(found))
    print(f"share of all calls {found['calls'].mean():.2f}; routes in {chosen:.0%} of searches")
