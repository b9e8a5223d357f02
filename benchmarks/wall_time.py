"""A pool of two-module pipelines against slept latencies: its share of the ideal wall time.

    python -m benchmarks wall_time [--examples 16] [--repeats 3]

16 configs (4 models in each module) on the same examples: a module's answer is shared by the
configs that need it. The provider sleeps, 50 to 200 ms by a lognormal law, and does nothing else.
Ideal is the sum of all latencies over the concurrency, or the longest chain if that takes longer.
Beside it, the same configs one after the other. The last column is CPU by call.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable
from itertools import product
from typing import NamedTuple
from unittest.mock import patch

from evaluators.dataset import Dataset
from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from pipelines import Module, Pipeline
from pipelines.llms.call import LMCall, LMReply
from pipelines.llms.gateway import Gateway
from pipelines.llms.model import Model

PIPELINE = Pipeline(
    "locate-solve", [Module("locate", "question -> task"), Module("solve", "task -> answer")]
)
DRAFTERS, SOLVERS = ("a", "b", "c", "d"), ("e", "f", "g", "h")
CONFIGS = [
    PIPELINE.default_config("a").with_models({"locate": drafter, "solve": solver})
    for drafter, solver in product(DRAFTERS, SOLVERS)
]
GOALS = {32: 0.85, 64: 0.70}


class Timed(NamedTuple):
    """One pool."""

    calls: int
    ideal: float
    wall: float
    cpu: float
    """All three in seconds."""


class SleepingProvider:
    """Stands for a provider: it sleeps, and answers what no other call is answered."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def send(self, call: LMCall, *_: object) -> LMReply:
        """In place of the gateway's transport; the call alone decides how long it takes."""
        drawn = random.Random(call.key).gauss(0.0, 0.35)
        seconds = min(0.2, max(0.05, 0.1 * math.exp(drawn)))
        time.sleep(seconds)
        self.slept.append(seconds)
        field = "answer" if "`[[ ## answer ## ]]`" in call.messages[-1]["content"] else "task"
        text = f"[[ ## {field} ## ]]\n{call.key[:8]}\n\n[[ ## completed ## ]]"
        return LMReply(text, "stop", 400, 20, 0.0004, seconds)


def evaluator(examples: int, concurrency: int) -> Evaluator:
    """A fresh one, which knows nothing."""
    data = Dataset.load([{"question": f"question {n}", "answer": "?"} for n in range(examples)])
    metric = resolve_metric("exact_match", PIPELINE.outputs, data.columns)
    models = {
        label: Model(
            f"openai/{label}", label, "http://127.0.0.1:9",
            input_usd_per_million=1, output_usd_per_million=1,
        )
        for label in (*DRAFTERS, *SOLVERS)
    }  # fmt: skip
    session = Gateway(None).session("wall time")
    return Evaluator(PIPELINE, models, data, metric, session, concurrency)


def timed(made: Evaluator, run: Callable[[Evaluator], None]) -> Timed:
    """How long it takes to run all configs on all examples."""
    provider = SleepingProvider()
    with patch("pipelines.llms.transport.send", provider.send):
        wall, cpu = time.perf_counter(), time.process_time()
        run(made)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    outcomes = [o for config in CONFIGS for o in made.known(config).outcomes.values()]
    longest = max(outcome.latency_s for outcome in outcomes)
    ideal = max(math.fsum(provider.slept) / made.concurrency, longest)
    return Timed(len(provider.slept), ideal, wall, cpu)


def pooled(made: Evaluator) -> None:
    made.run(list(product(CONFIGS, range(len(made.examples)))))


def one_by_one(made: Evaluator) -> None:
    for config in CONFIGS:
        made.evaluate(config, range(len(made.examples)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(
        "concurrency | configs     | calls | ideal s | wall s | share of ideal | goal | CPU ms/call"
    )
    timed(evaluator(2, 2), pooled)  # imports
    for concurrency, goal in GOALS.items():
        for name, run in (("in one pool", pooled), ("one by one", one_by_one)):
            fresh = (evaluator(options.examples, concurrency) for _ in range(options.repeats))
            told(concurrency, name, [timed(made, run) for made in fresh], goal)


def told(concurrency: int, name: str, found: list[Timed], goal: float) -> None:
    """Medians over the repeats."""
    calls, ideal, wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
    share = statistics.median(each.ideal / each.wall for each in found)
    print(
        f"{concurrency:11d} | {name} | {calls:5.0f} | {ideal:7.2f} | {wall:6.2f} | "
        f"{share:14.0%} | {goal:4.0%} | {1000 * cpu / calls:.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
