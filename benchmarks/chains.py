"""Chains of 2, 4, 6, 8 modules with ten simulated models: how calls grow with the modules.

    python -m benchmarks chains [--examples 100] [--seeds 3]

Beside our search: the same without a diagnoser, and halving of random allocations and random search
in as many calls.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from benchmarks.searching import Bench, mean_score
from benchmarks.worlds import MODELS, chain_modules, simulated_dataset
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway

LENGTHS = (2, 4, 6, 8)
WAYS = ("ours", "no diagnoser", "halving", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=100)
    options = parser.parse_args()
    calls: dict[str, dict[int, list[int]]] = {name: {} for name in WAYS}
    print("modules | seed | " + " | ".join(f"{name:>12}: score, calls" for name in WAYS) + " | s")
    for length in LENGTHS:
        for seed in range(options.seeds):
            started = time.perf_counter()
            found = run(chain_bench(length, options.examples, seed))
            for name, (_, taken) in zip(WAYS, found, strict=True):
                calls[name].setdefault(length, []).append(taken)
            told = " | ".join(f"{score:19.3f} {taken:6d}" for score, taken in found)
            seconds = time.perf_counter() - started
            print(f"{length:7d} | {seed:4d} | {told} | {seconds:.0f}", flush=True)
    print()
    for name, by_length in calls.items():
        means = ", ".join(f"{np.mean(counts):,.0f}" for counts in by_length.values())
        print(f"{name}: log-log exponent of calls in modules {exponent(by_length):.3f} ({means})")


def run(bench: Bench) -> list[tuple[float, int]]:
    """The score of what each way found, on all search examples, and its calls."""
    ours, calls = bench.search()
    found = [
        (ours, calls),
        bench.rival("default"),
        bench.rival("halving", calls),
        bench.rival("random", calls),
    ]
    return [(mean_score(state, state.incumbent), taken) for state, taken in found]


def chain_bench(length: int, examples: int, seed: int) -> Bench:
    """A chain of so many modules, each of another kind."""
    modules = [
        Module(m["name"], m["signature"], instructions=m["instructions"])
        for m in chain_modules(length)
    ]
    return Bench(
        pipeline=Pipeline(f"chain-{length}", modules),
        rows=simulated_dataset("chain", examples, seed, length=length),
        models=[f"sim/{model.name}" for model in MODELS],
        gateway=Gateway(cache=None),
        seed=seed,
    )


def exponent(calls: dict[int, list[int]]) -> float:
    """Slope of the least-squares line through log mean calls over log modules."""
    x = [math.log(length) for length in calls]
    y = [math.log(np.mean(counts)) for counts in calls.values()]
    return float(np.polyfit(x, y, 1)[0])
