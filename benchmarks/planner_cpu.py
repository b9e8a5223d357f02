"""The planner's own CPU in chains of modules, by modules, models and examples, with exponents.

    python -m benchmarks planner_cpu

No model is called: scores are drawn, with an effect of every module's model. A whole search for an
allocation runs on them without a diagnoser: the pipeline as given, a look at every single model,
and the default strategy. What is measured is all that a search does besides calls: posteriors,
plans, configs, call keys, forecasts and bookkeeping.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from benchmarks.searching import Bench
from evaluators.evaluator import Evaluator
from evaluators.outcome import Outcome
from optimizer.search.budget.reserve import Reserve
from optimizer.search.state import SearchState
from optimizer.stages.allocation.single_models import look_at_single_models
from optimizer.stages.allocation.stage import Allocation
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig

SPREAD = 0.5
"""Standard deviation of configs' abilities, in units of the noise; all modules have a like part."""
GOAL = 1.2
"""The largest exponent."""


class Size(NamedTuple):
    """Of a search."""

    modules: int
    models: int
    examples: int


MIDDLE = Size(6, 10, 200)
SIZES = {
    "modules": [MIDDLE._replace(modules=n) for n in (2, 3, 4, 6, 8, 12)],
    "models": [MIDDLE._replace(models=n) for n in (5, 10, 20, 50)],
    "examples": [MIDDLE._replace(examples=n) for n in (100, 300, 1000, 3000, 10_000)],
}
LARGEST = Size(12, 10, 100)


class DrawnScores(Evaluator):
    """An evaluator whose outcomes are drawn instead of run."""

    def run(self, runs: Sequence[tuple[PipelineConfig, int]]) -> None:
        means: dict[str, float] = {}
        for config, index in self._missing(runs):
            if config.key not in means:
                means[config.key] = _mean(config)
            score = float(_uniform(f"{config.key} {index}") < means[config.key])
            self._keep(config, index, Outcome(score, 0.001, len(config.modules), 1.0, None))


def _mean(config: PipelineConfig) -> float:
    """The config's expected score, by the abilities of its models."""
    allocation = config.allocation.items()
    drawn = [_uniform(f"{module} {labels[0]}") - 0.5 for module, labels in allocation]
    return float(ndtr(SPREAD * np.sqrt(12 / len(drawn)) * np.sum(drawn)))


def _uniform(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)


def state(size: Size) -> SearchState:
    """A search at its beginning, over a chain of so many modules."""
    modules = [Module(f"step{n}", f"x{n} -> x{n + 1}") for n in range(size.modules)]
    plan = Bench(
        pipeline=Pipeline("chain", modules),
        rows=[{"x0": str(n), f"x{size.modules}": "?"} for n in range(size.examples)],
        models=[
            Model(f"openai/model{n}", input_usd_per_million=1, output_usd_per_million=1)
            for n in range(size.models)
        ],
        gateway=Gateway(None),
        diagnoser=None,
    ).plan()
    session = Gateway(None).session("planner")
    metric = plan.metric.open(session)
    evaluator = DrawnScores(plan.pipeline, plan.models, plan.search, metric, session)
    return SearchState(
        evaluator=evaluator,
        space=plan.space,
        examples=range(size.examples),
        baseline=plan.baseline,
        reserve=Reserve(evaluator, plan.baseline, 0, plan.may_change),
    )


def cpu(size: Size) -> tuple[float, int, int]:
    """Seconds of CPU; configs; runs."""
    searched = state(size)
    started = time.process_time()
    searched.race("baseline", [searched.baseline])
    look_at_single_models(searched)
    Allocation().improve(searched)
    history = searched.evaluator.history
    return (
        time.process_time() - started,
        len({run.config.key for run in history}),
        len(history),
    )


def main() -> None:
    cpu(Size(2, 2, 20))  # imports
    print("modules | models | examples | configs |   runs | CPU s")
    for name, sizes in SIZES.items():
        seconds = [told(size) for size in sizes]
        logs = np.log([getattr(size, name) for size in sizes]), np.log(seconds)
        print(f"exponent in {name}: {np.polyfit(*logs, 1)[0]:.2f} (goal: at most {GOAL})\n")
    told(LARGEST)


def told(size: Size) -> float:
    """Prints a line; seconds of CPU."""
    seconds, configs, runs = cpu(size)
    print(
        f"{size.modules:7d} | {size.models:6d} | {size.examples:8d} | "
        f"{configs:7d} | {runs:6d} | {seconds:.3f}",
        flush=True,
    )
    return seconds
