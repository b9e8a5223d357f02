"""The planner's own CPU in chains of modules, by modules, models and examples, with exponents.

    python -m benchmarks planner_cpu

No model is called: outcomes come from a table. Module after module, its models meet in a halving
from 16 examples on, the other modules being as in the best so far. Before every rung the budget is
asked whether it has room for it, and after every one each new config whether it is free, as a
search asks. What is measured is all of that: configs, call keys, forecasts and bookkeeping.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import dspy
import numpy as np

from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from evaluators.outcome import Outcome
from optimizer.search.budget_forecast import Forecast
from pipelines import Module, Pipeline
from pipelines.llms.budget import Budget
from pipelines.llms.gateway import Gateway
from pipelines.llms.model import Model
from search_spaces import PipelineConfig

FIRST_RUNG = 16
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


class TableEvaluator(Evaluator):
    """An evaluator whose outcomes are looked up instead of run."""

    def run(self, runs: Sequence[tuple[PipelineConfig, int]]) -> None:
        for (key, index), config in self._missing(runs).items():
            drawn = zlib.crc32(f"{key}{index}".encode()) % 100 / 100
            self._keep(config, index, Outcome(drawn, 0.001, len(self.models), 1.0, None))


def search(size: Size) -> tuple[int, int]:
    """A sweep over the modules; the number of configs, and of their runs."""
    evaluator, models = table(size)
    incumbent = evaluator.pipeline.default_config(models[0])
    forecast = Forecast(evaluator, incumbent, {})
    for module in evaluator.pipeline.modules:
        entrants = [incumbent.with_models({module.name: label}) for label in models]
        rung = FIRST_RUNG
        while True:
            examples = range(min(rung, size.examples))
            runs = list(product(entrants, examples))
            forecast.check(runs)
            evaluator.run(runs)
            assert all(forecast.is_free(config, 0) for config in entrants)
            entrants.sort(key=lambda config: -evaluator.known(config).mean)
            if len(examples) == size.examples:
                break
            entrants, rung = entrants[: max(1, len(entrants) // 2)], 2 * rung
        incumbent = entrants[0]
    return len({run.config.key for run in evaluator.history}), len(evaluator.history)


def table(size: Size) -> tuple[TableEvaluator, list[str]]:
    """An evaluator for a chain of so many modules, and the models' labels."""
    modules = [Module(f"step{n}", f"x{n} -> x{n + 1}") for n in range(size.modules)]
    pipeline = Pipeline("chain", modules)
    (output,) = pipeline.outputs
    examples = [dspy.Example({"x0": str(n), output: "?"}) for n in range(size.examples)]
    metric = resolve_metric("exact_match", pipeline.outputs, ("x0", output))
    models = {f"model{n}": Model(f"sim/model{n}", f"model{n}") for n in range(size.models)}
    session = Gateway(None).session("planner", Budget(calls=10**9, usd=10**6))
    return TableEvaluator(pipeline, models, examples, metric, session), list(models)


def cpu(size: Size) -> tuple[float, int, int]:
    """Seconds of CPU, the faster of two times; configs; runs."""
    seconds = []
    for _ in range(2):
        started = time.process_time()
        configs, runs = search(size)
        seconds.append(time.process_time() - started)
    return min(seconds), configs, runs


def main() -> None:
    search(Size(2, 2, 20))  # imports
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


if __name__ == "__main__":
    main()
