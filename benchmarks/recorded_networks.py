"""Votes and cascades of recorded models: regret, calls and cost against enumerating all of them.

    python -m benchmarks recorded_networks --recording mmlu_pro_recorded.jsonl.gz [--splits 50]

Real answers of eight models to MMLU-Pro questions; no model is called. The space: each model
alone, every vote of three of the seven mid-size models, and every cascade of two or three of them
that ends in the 70B where they do not agree. Enumeration asks all eight models on all search
examples once, and scores everything from a perfect cache. Our calls are those of the whole search.

The rival is successive halving from the same cache: to its end; ended by as many calls as ours; and
so if it too begins with the pipeline as given, the 70B, on all examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import dspy
import numpy as np
import pandas as pd

from benchmarks.recorded_votes import HOLDOUT, MODELS
from benchmarks.searching import Bench
from benchmarks.splits import over_splits
from evaluators.objective import Objective
from pipelines import Module, Pipeline
from pipelines.aggregators.normalising import normalised
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers.recorded import recorded_dataset
from search_spaces import AggregatorConfig, ModuleConfig, PipelineConfig, SearchSpace

STRONG = "Meta-Llama-3.1-70B-Instruct"
LABELS = (*MODELS, STRONG)
WITHIN = 0.01


class Split(NamedTuple):
    """Calls, dollars per example, and mean scores, by default on the search examples."""

    enumeration_calls: float
    best: float
    ours: float
    calls: float
    halved: float
    halved_calls: float
    halved_at_our_calls: float
    halved_from_same_start: float
    held_out_ours: float
    held_out_halved_at_our_calls: float
    held_out_halved_from_same_start: float
    held_out_given: float
    least_usd: float
    cheapest_usd: float
    near_enough: float
    """1 if the cheapest is as good as was asked for."""
    cheapest_calls: float


def main() -> None:
    print(" | ".join(["split", *Split._fields]))
    rows = []
    for seed, row in over_splits(__doc__ or "", run_split):
        rows.append(row)
        print(f"{seed:5d} | " + " | ".join(f"{figure:.5g}" for figure in row), flush=True)
    summarise(pd.DataFrame(rows, columns=Split._fields))


def run_split(recording: str, seed: int) -> Split:
    """Both searches and their rivals on one split."""
    known = recorded_answers(recording)
    quality = _bench(recording, seed, known.gateway, Objective(within=0.0))
    state, calls = quality.search()
    cheapest = _bench(recording, seed, known.gateway, Objective(within=WITHIN, of="single_model"))
    cheap, cheap_calls = cheapest.search()
    plan = quality.plan()
    table, held_out = (_table(known, examples) for examples in (plan.search, plan.holdout))
    keys = [config.key for config in networks()]
    scores, usd = table.scores.mean(axis=1), table.usd.mean(axis=1)
    fresh = held_out.scores.mean(axis=1)
    near = scores >= max(scores[:8]) - WITHIN - 1e-12
    halved, halved_calls = table.successive_halving(np.random.default_rng(seed))
    ended, _ = table.successive_halving(np.random.default_rng(seed), calls)
    given = LABELS.index(STRONG)
    same_start, _ = table.successive_halving(np.random.default_rng(seed), calls, given)
    ours, found = keys.index(state.incumbent.key), keys.index(cheap.incumbent.key)
    return Split(
        8 * table.scores.shape[1],
        scores.max(),
        scores[ours],
        calls,
        scores[halved],
        halved_calls,
        scores[ended],
        scores[same_start],
        fresh[ours],
        fresh[ended],
        fresh[same_start],
        fresh[given],
        usd[near].min(),
        usd[found],
        float(near[found]),
        cheap_calls,
    )


class Row(NamedTuple):
    """One network on every example, computed from the recorded answers outside of the library."""

    scores: np.ndarray
    usd: np.ndarray
    asked: np.ndarray
    """Models x examples: who was asked."""


class Table:
    """All networks on the search examples of one split."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.scores = np.array([row.scores for row in rows])
        self.usd = np.array([row.usd for row in rows])
        self.asked = np.array([row.asked for row in rows])

    def successive_halving(
        self, rng: np.random.Generator, most: float = math.inf, given: int | None = None
    ) -> tuple[int, int]:
        """The best by halving networks and doubling examples, from 64; and the calls it takes.

        Where so many calls are used up before, the best so far on the examples that they reach.

        Args:
            given: a model that is asked on all examples first.
        """
        running, seen, size = rng.permutation(len(self.scores)), 0, 64
        total = self.scores.shape[1]
        asked, calls = self.asked.copy(), 0
        if given is not None:
            asked[:, given], calls = False, total
        while True:
            size = min(size, total)
            paid = calls + asked[running, :, seen:size].any(axis=0).sum(axis=0).cumsum()
            size = seen + int((paid <= most).sum())
            calls = int(paid[size - seen - 1]) if size > seen else calls
            order = np.argsort(-self.scores[running, :size].mean(axis=1), kind="stable")
            if size in (total, seen) or paid[-1] > most or len(running) == 1:
                return int(running[order[0]]), calls
            running = running[order[: math.ceil(len(running) / 2)]]
            seen, size = size, 2 * size


class Recorded(NamedTuple):
    """What all models answered to all questions."""

    gateway: Gateway
    places: Mapping[str, int]
    """Where a question stands."""
    ballots: np.ndarray
    """Models x questions: equal for answers that mean the same, empty for none."""
    scores: np.ndarray
    usd: np.ndarray


@lru_cache(maxsize=1)
def recorded_answers(recording: str) -> Recorded:
    """Every model on every question, once for all splits of a process."""
    gateway = Gateway(cache=None)
    bench = _bench(recording, 0, gateway, Objective(), holdout=0.0)
    state = bench.state("recorded answers")
    ballots, scores, usd = [], [], []
    for label in LABELS:
        single = state.baseline.with_models({"solve": label})
        known = state.evaluator.evaluate(single, state.examples)
        outputs = [
            state.evaluator.trace(single, i).outputs or {"answer": ""} for i in state.examples
        ]
        ballots.append([normalised(output["answer"]) for output in outputs])
        scores.append([known.scores[i] for i in state.examples])
        usd.append([known.outcomes[i].usd for i in state.examples])
    questions = [example["question"] for example in state.evaluator.examples]
    places = {question: place for place, question in enumerate(questions)}
    return Recorded(gateway, places, np.array(ballots), np.array(scores), np.array(usd))


def _table(known: Recorded, examples: Sequence[dspy.Example]) -> Table:
    places = [known.places[example["question"]] for example in examples]
    return Table([_row(known, config, places) for config in networks()])


def _row(known: Recorded, config: PipelineConfig, places: Sequence[int]) -> Row:
    """What a network comes to: the answer of which member it takes, and whom it asks."""
    module = config.modules["solve"]
    members = [LABELS.index(label) for label in module.labels]
    ballots = known.ballots[:, places]
    asked = np.zeros((len(LABELS), len(places)), dtype=bool)
    cascade = module.aggregation is not None and module.aggregation.name == "cascade"
    first = members[:-1] if cascade else members
    asked[first] = True
    winner, votes = _vote(ballots[first])
    taken = np.array(first)[winner]
    if cascade and module.aggregation:
        share = votes / len(first)
        doubted = share < module.aggregation.params["agreement"] - 1e-9
        asked[members[-1]] = doubted
        taken = np.where(doubted, members[-1], taken)
    columns = np.arange(len(places))
    scores = known.scores[:, places][taken, columns]
    return Row(scores, (known.usd[:, places] * asked).sum(axis=0), asked)


def _vote(ballots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first member with the most frequent answer, and how many gave it; the empty abstain."""
    votes = (ballots[:, None] == ballots[None]).sum(axis=1) * (ballots != "")
    winner = votes.argmax(axis=0)
    return winner, votes.max(axis=0)


def networks() -> Sequence[PipelineConfig]:
    """The whole space."""
    made = [ModuleConfig(models=(label,)) for label in LABELS]
    for three in itertools.permutations(MODELS, 3):
        if three[1] < three[2]:  # the first one breaks ties; the order of the others is the same
            made.append(ModuleConfig(models=three, width=3, aggregator="majority_vote"))
    for width, agreement in ((2, 1.0), (3, 0.6), (3, 1.0)):
        params = {"steps": [width, 1], "agreement": agreement}
        aggregation = AggregatorConfig(name="cascade", params=params)
        for first in itertools.combinations(MODELS, width):
            made.append(
                ModuleConfig(models=(*first, STRONG), width=width + 1, aggregator=aggregation)
            )
    return [PipelineConfig(modules={"solve": module}) for module in made]


def _bench(
    recording: str, seed: int, gateway: Gateway, objective: Objective, holdout: float = HOLDOUT
) -> Bench:
    listed = tuple(config.modules["solve"] for config in networks())
    return Bench(
        pipeline=Pipeline("question", [Module("solve", "question -> answer")]),
        rows=recorded_dataset(recording),
        models=[
            Model(f"recorded/{name}", label=name, params={"recording": recording})
            for name in (STRONG, *MODELS)  # the first one is the baseline
        ],
        gateway=gateway,
        diagnoser=None,
        holdout=holdout,
        seed=seed,
        stages=("structure",),
        space=SearchSpace(width=(1,), temperature=(), aggregator=(), network=listed),
        objective=objective,
    )


def summarise(found: pd.DataFrame) -> None:
    """The figures that the documentation quotes."""
    calls = found[["calls", "halved_calls", "cheapest_calls"]]
    shares = calls.div(found["enumeration_calls"], axis=0)
    regrets = 100 * found[["ours", *found.filter(regex="^halved")]].rsub(found["best"], axis=0)
    print("\nquality: mean regret in points")
    print(regrets.drop(columns="halved_calls").mean().to_string(float_format="{:.2f}".format))
    print("mean score on the examples held out")
    print(found.filter(like="held_out").mean().to_string(float_format="{:.4f}".format))
    print("share of enumeration's calls")
    print(shares.mean().to_string(float_format="{:.2f}".format))
    usd, least = found["cheapest_usd"], found["least_usd"]
    print(
        f"cheapest within {100 * WITHIN:g} point of the best single model: "
        f"{(usd / least).mean():.2f} times the cheapest's dollars on average, "
        f"{usd.mean() / least.mean():.2f} times in all; near enough in "
        f"{found['near_enough'].mean():.0%} of splits"
    )
