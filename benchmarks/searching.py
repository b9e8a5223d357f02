"""What the benchmarks share: a search without MLflow, and the rivals beside it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy
import numpy as np

from benchmarks.worlds import PHRASES
from evaluators.objective import Objective
from optimizer.loop import begin, search, start_search
from optimizer.results.conclusion import conclude
from optimizer.results.result import Result
from optimizer.search.state import SearchState
from optimizer.setup.plan import Plan, prepare
from optimizer.setup.stage import Stage
from optimizer.stages.allocation.stage import Allocation
from optimizer.stages.resolver import resolve_stages
from pipelines import Tunable
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig, SearchSpace

SPREAD = 0.7
"""Standard deviation of what a phrase does to a model in a skill, in units of ability; it differs
much more between models than for the built-in ones."""


@dataclass
class Bench:
    """One pipeline, its examples and models, and a gateway whose cache all rivals share."""

    pipeline: Tunable | dspy.Module
    rows: Sequence[Mapping[str, Any]]
    models: Sequence[str | Model]
    gateway: Gateway
    metric: str | Callable[..., Any] = "exact_match"
    diagnoser: str | Model | None = "auto"
    holdout: float = 0.0
    seed: int = 0
    concurrency: int = 16
    stages: Sequence[str | Stage] = ("allocation",)
    space: SearchSpace | None = None
    objective: str | Objective = "quality"
    start: str | None = None
    """A file of an earlier result."""

    def plan(self) -> Plan:
        """The search as `optimize` would set it up."""
        return prepare(
            self.pipeline,
            self.rows,
            self.models,
            metric=self.metric,
            search_space=self.space,
            stages=resolve_stages(self.stages),
            diagnoser=self.diagnoser,
            holdout=self.holdout,
            seed=self.seed,
            objective=self.objective,
            start=self.start,
        )

    def state(self, account: str, budget: Budget | None = None) -> SearchState:
        """A fresh account at the shared cache: its nominal calls are this rival's own."""
        return start_search(self.plan(), self.gateway.session(account, budget), self.concurrency)

    def search(
        self, account: str = "ours", budget: Budget | None = None
    ) -> tuple[SearchState, int]:
        """Our search; the state and its calls, baselines and diagnoser included."""
        state = self.state(account, budget)
        begin(state)
        search(state, self.plan())
        return state, state.evaluator.session.nominal.calls

    def result(self, account: str = "ours", budget: Budget | None = None) -> Result:
        """What `optimize` returns, holdout and withdrawal included."""
        plan, session = self.plan(), self.gateway.session(account, budget)
        state = start_search(plan, session, self.concurrency)
        begin(state)
        stopped = search(state, plan)
        return conclude(plan, state, stopped)

    def rival(
        self, strategy: str, calls: int | None = None, diagnoser: str | None = None
    ) -> tuple[SearchState, int]:
        """Another strategy's search for models, in at most so many calls.

        It begins as ours does, with the pipeline as given and a look at every single model.
        """
        bench = replace(self, stages=(Allocation(strategy),), diagnoser=diagnoser)
        return bench.search(strategy, Budget(calls=calls))


def tastes(
    rng: np.random.Generator, skills: Sequence[str], spread: float = SPREAD
) -> dict[str, dict[str, float]]:
    """What phrases in the instructions do to one model in each skill, in units of ability."""
    return {
        phrase.text: {skill: float(rng.normal(0.0, spread)) for skill in skills}
        for phrase in PHRASES
    }


def seeds_parser(about: str | None, seeds: int, calls: int) -> argparse.ArgumentParser:
    """The options of a benchmark that draws its models by seed."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--calls", type=int, default=calls)
    return parser


def compared(
    ways: Sequence[str], seeds: Sequence[int], run: Callable[[int], Sequence[tuple[float, int]]]
) -> None:
    """Print every way's score and calls, seed by seed, and what the first gains on the others."""
    print("seed | " + " | ".join(f"{way:>24}" for way in ways) + " |  s   (score, calls)")
    table = []
    for seed in seeds:
        started = time.perf_counter()
        row = run(seed)
        table.append([score for score, _ in row])
        told = " | ".join(f"{score:17.3f} {calls:6d}" for score, calls in row)
        print(f"{seed:4d} | {told} | {time.perf_counter() - started:.0f}", flush=True)
    ours, *rivals = np.array(table).T
    told_gains(ways[0], ours, dict(zip(ways[1:], rivals, strict=True)))


def told_gains(name: str, scores: np.ndarray, rivals: Mapping[str, np.ndarray]) -> None:
    """Print means over seeds, and paired gains with their 95% intervals, by bootstrap."""
    rng = np.random.default_rng(0)
    print(f"{name}: {100 * scores.mean():.1f} points on average")
    for rival, theirs in rivals.items():
        gains = 100 * (scores - theirs)
        low, high = np.percentile(rng.choice(gains, (10_000, len(gains))).mean(axis=1), [2.5, 97.5])
        print(
            f"{rival}: {100 * theirs.mean():.1f} points, so {gains.mean():+.1f} for {name} "
            f"[{low:+.1f}, {high:+.1f}] (bootstrap over seeds), better in {np.sum(gains > 0)}, "
            f"worse in {np.sum(gains < 0)}"
        )


def mean_score(state: SearchState, config: PipelineConfig) -> float:
    """Mean score of a config on all search examples."""
    return state.evaluator.evaluate(config, state.examples).mean


def every_allocation(state: SearchState) -> Iterator[PipelineConfig]:
    """All configs of the space, first to last."""
    for allocation in state.space.allocations():
        yield state.baseline.with_models(allocation)
