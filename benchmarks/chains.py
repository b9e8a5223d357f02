"""Chains of 2, 4, 6, 8 modules with ten simulated models: how calls grow with the modules.

    python -m benchmarks chains [--examples 100] [--seeds 3]

Beside our search: racing every model in every module end to end, module after module, without
a diagnoser and without looking at single models; once stopping only what is shown to be worse, and
once as impatiently as our search.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from benchmarks.searching import Bench, mean_score, race_every_module
from evaluators.racing.stopping import HURRIED, UNHURRIED
from pipelines import Module, Pipeline
from pipelines.llms.gateway import Gateway
from pipelines.llms.simulated import MODELS, chain_modules, simulated_dataset

LENGTHS = (2, 4, 6, 8)
RIVALS = {"module by module": UNHURRIED, "the same, our stopping": HURRIED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=100)
    options = parser.parse_args()
    calls: dict[str, dict[int, list[int]]] = {name: {} for name in ("ours", *RIVALS)}
    print("modules | seed | " + " | ".join(f"{name}: score, calls" for name in calls) + " | s")
    for length in LENGTHS:
        for seed in range(options.seeds):
            started = time.perf_counter()
            bench = chain_bench(length, options.examples, seed)
            state, ours = bench.search()
            found = {"ours": (mean_score(state, state.incumbent), ours)}
            for name, patience in RIVALS.items():
                rival = bench.state(name)
                race_every_module(rival, patience)
                taken = rival.evaluator.session.nominal.calls
                found[name] = mean_score(rival, rival.incumbent), taken
            for name, (_, taken) in found.items():
                calls[name].setdefault(length, []).append(taken)
            told = (f"{score:{len(name)}.3f} {taken:14d}" for name, (score, taken) in found.items())
            seconds = time.perf_counter() - started
            print(f"{length:7d} | {seed:4d} | {' | '.join(told)} | {seconds:.0f}", flush=True)
    print()
    for name, by_length in calls.items():
        means = ", ".join(f"{np.mean(counts):,.0f}" for counts in by_length.values())
        print(f"{name}: log-log exponent of calls in modules {exponent(by_length):.3f} ({means})")


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


if __name__ == "__main__":
    main()
