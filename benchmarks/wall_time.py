"""Pools and whole searches against slept latencies: their share of the ideal wall time.

    python -m benchmarks wall_time [--examples 32] [--searched 600] [--repeats 3] [--latency 0.1]

16 configs of two modules (4 models in each) on the same examples: a module's answer is shared by
the configs that need it. The provider does nothing but sleep: by a lognormal law, for half to twice
the latency that is asked for; its models differ in how often they are right. Ideal is the sum of
all latencies over the concurrency, or the longest chain if that takes longer. Beside the pool, the
same configs one after the other, and a whole search for an allocation of 8 models, holdout
included, which waits for each batch of calls before it plans the next. The last column is CPU by
call, which the gateway and DSPy take: with latencies that are short beside it the processor is the
limit.
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

from benchmarks.searching import Bench
from evaluators.dataset import Dataset
from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from pipelines import Module, Pipeline
from pipelines.gateway.call import LMCall, LMReply
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model

PIPELINE = Pipeline(
    "locate-solve", [Module("locate", "question -> task"), Module("solve", "task -> answer")]
)
DRAFTERS, SOLVERS = ("a", "b", "c", "d"), ("e", "f", "g", "h")
CONFIGS = [
    PIPELINE.default_config("a").with_models({"locate": drafter, "solve": solver})
    for drafter, solver in product(DRAFTERS, SOLVERS)
]
MODELS = [
    Model(
        f"openai/{label}", label, "http://127.0.0.1:9",
        input_usd_per_million=1, output_usd_per_million=1,
    )
    for label in (*DRAFTERS, *SOLVERS)
]  # fmt: skip
RIGHT = "right"
GOALS = {32: 0.85, 64: 0.70}


class Timed(NamedTuple):
    """One pool."""

    calls: int
    ideal: float
    wall: float
    cpu: float
    """All three in seconds."""


class SleepingProvider:
    """Stands for a provider: it sleeps, and gives another answer to each call, right or wrong."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.slept: list[float] = []

    def send(self, call: LMCall, *_: object) -> LMReply:
        """In place of the gateway's transport; the call alone decides how long it takes."""
        drawn = math.exp(random.Random(call.key).gauss(0.0, 0.35))
        seconds = self.latency_s * min(2.0, max(0.5, drawn))
        time.sleep(seconds)
        self.slept.append(seconds)
        asked = call.messages[-1]["content"]
        field = "answer" if "`[[ ## answer ## ]]`" in asked else "task"
        able = random.Random(f"{field} {call.model.label}").random()
        right = random.Random(f"right {call.key}").random() < able and "wrong" not in asked
        found = RIGHT if field == "answer" and right else f"{'' if right else 'wrong '}{call.key}"
        text = f"[[ ## {field} ## ]]\n{found}\n\n[[ ## completed ## ]]"
        return LMReply(text, "stop", 400, 20, 0.0004, seconds)


def rows(examples: int) -> list[dict[str, str]]:
    return [{"question": f"question {n}", "answer": RIGHT} for n in range(examples)]


def evaluator(examples: int, concurrency: int) -> Evaluator:
    """A fresh one, which knows nothing."""
    data = Dataset.load(rows(examples))
    metric = resolve_metric("exact_match", PIPELINE.outputs, data.columns)
    models = {model.label: model for model in MODELS}
    session = Gateway(None).session("wall time")
    return Evaluator(PIPELINE, models, data, metric, session, concurrency)


def timed(run: Callable[[], object], concurrency: int, latency_s: float) -> Timed:
    """How long it takes."""
    provider = SleepingProvider(latency_s)
    with patch("pipelines.providers.litellm.send", provider.send):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    chain = len(PIPELINE.modules) * max(provider.slept)
    ideal = max(math.fsum(provider.slept) / concurrency, chain)
    return Timed(len(provider.slept), ideal, wall, cpu)


def pooled(concurrency: int, examples: int) -> Callable[[], object]:
    made = evaluator(examples, concurrency)
    return lambda: made.run(list(product(CONFIGS, range(examples))))


def one_by_one(concurrency: int, examples: int) -> Callable[[], object]:
    made = evaluator(examples, concurrency)
    return lambda: [made.evaluate(config, range(examples)) for config in CONFIGS]


def whole_search(concurrency: int, examples: int) -> Callable[[], object]:
    return Bench(
        PIPELINE, rows(examples), MODELS, Gateway(None),
        diagnoser=None, holdout=0.3, concurrency=concurrency,
    ).result  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--searched", type=int, default=600, help="examples of the search")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.1, help="median seconds of a call")
    options = parser.parse_args()
    print("concurrency | what         | calls | ideal s | wall s | share of ideal | goal | CPU ms")
    timed(pooled(2, 2), 2, 0.01)  # imports
    for concurrency, goal in GOALS.items():
        for name, made, examples in (
            ("in one pool", pooled, options.examples),
            ("one by one", one_by_one, options.examples),
            ("whole search", whole_search, options.searched),
        ):
            runs = (made(concurrency, examples) for _ in range(options.repeats))
            told(
                concurrency, name, [timed(run, concurrency, options.latency) for run in runs], goal
            )


def told(concurrency: int, name: str, found: list[Timed], goal: float) -> None:
    """Medians over the repeats."""
    calls, ideal, wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
    share = statistics.median(each.ideal / each.wall for each in found)
    print(
        f"{concurrency:11d} | {name:12} | {calls:5.0f} | {ideal:7.2f} | {wall:6.2f} | "
        f"{share:14.0%} | {goal:4.0%} | {1000 * cpu / calls:.1f}",
        flush=True,
    )
