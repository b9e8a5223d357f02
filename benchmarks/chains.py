"""Chains of 2, 4, 6, 8 modules with ten simulated models: how calls grow with the modules.

    python -m benchmarks chains [--examples 100] [--seeds 3]

Beside our search: racing every model in every module end to end, one module after the other.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from benchmarks.searching import Bench, mean_score
from optimizer.study import Study
from pipelines import Module, Pipeline
from pipelines.llms.gateway import Gateway
from pipelines.llms.simulated import MODELS, chain_modules, simulated_dataset

LENGTHS = (2, 4, 6, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=100)
    options = parser.parse_args()
    ours: dict[int, list[int]] = {length: [] for length in LENGTHS}
    rival: dict[int, list[int]] = {length: [] for length in LENGTHS}
    print("modules | seed | ours: score   calls | module by module: score   calls | s")
    for length in LENGTHS:
        for seed in range(options.seeds):
            started = time.perf_counter()
            bench = chain_bench(length, options.examples, seed)
            study, calls = bench.search()
            other = bench.study("module by module")
            race_every_module(other)
            other_calls = other.evaluator.session.nominal.calls
            ours[length].append(calls)
            rival[length].append(other_calls)
            print(
                f"{length:7d} | {seed:4d} | {mean_score(study, study.incumbent):11.3f} {calls:7d} |"
                f" {mean_score(other, other.incumbent):23.3f} {other_calls:7d} | "
                f"{time.perf_counter() - started:.0f}",
                flush=True,
            )
    print(f"\nlog-log exponent of calls in modules, ours: {exponent(ours):.3f}")
    print(f"log-log exponent of calls in modules, module by module: {exponent(rival):.3f}")


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


def race_every_module(study: Study) -> None:
    """The rival: coordinate ascent by end-to-end races, with the same early stopping."""
    study.race("baseline", [study.baseline])
    while True:
        before = study.incumbent
        for module, labels in study.space.models.items():
            study.race(module, [study.incumbent.with_models({module: label}) for label in labels])
        if study.incumbent == before:
            return


def exponent(calls: dict[int, list[int]]) -> float:
    """Slope of the least-squares line through log mean calls over log modules."""
    x = [math.log(length) for length in calls]
    y = [math.log(np.mean(counts)) for counts in calls.values()]
    return float(np.polyfit(x, y, 1)[0])


if __name__ == "__main__":
    main()
