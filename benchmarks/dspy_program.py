"""The same pipeline as a DSPy program and as a spec: what the search finds, and what it takes.

python -m benchmarks dspy_program [--seeds 5] [--examples 100] [--calls 10000]

Ten simulated models, all stages. A program's flow is known only from running it, so the search
counts calls after the fact where a spec tells them beforehand; that is all that may differ.
"""

from __future__ import annotations

import time
from typing import Any

import dspy
import numpy as np

from benchmarks.dspy_locate_solve import LocateSolve
from benchmarks.searching import Bench, mean_score, seeds_parser
from benchmarks.worlds import MODELS, simulated_dataset
from optimizer.loop import begin, search
from pipelines import Tunable
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.patterns import locate_solve


def main() -> None:
    parser = seeds_parser(__doc__, seeds=5, calls=10_000)
    parser.add_argument("--stages", default="allocation,structure,prompts")
    options = parser.parse_args()
    stages = options.stages.split(",")
    print("seed | as spec: score, calls | as program: score, calls | more | same changes |   s")
    ratios, gains, same = [], [], 0
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        started = time.perf_counter()
        (spec, score, calls), (program, its_score, its_calls) = (
            searched(each, options.examples, options.calls, stages, seed)
            for each in (locate_solve(), LocateSolve())
        )
        ratios.append(its_calls / calls)
        gains.append(100 * (its_score - score))
        same += spec == program
        print(
            f"{seed:4d} | {score:14.3f} {calls:6d} | {its_score:17.3f} {its_calls:6d} | "
            f"{ratios[-1] - 1:+4.1%} | {spec == program!s:>12} | "
            f"{time.perf_counter() - started:3.0f}",
            flush=True,
        )
    print(
        f"as a program: {np.mean(ratios) - 1:+.1%} calls on average, "
        f"{min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%}; "
        f"{np.mean(gains):+.1f} points; the same changes in {same} of {options.seeds} seeds"
    )


def searched(
    pipeline: Tunable | dspy.Module, examples: int, calls: int, stages: list[str], seed: int
) -> tuple[list[Any], float, int]:
    """What tuning changed, the score on the search examples, and the calls."""
    bench = Bench(
        pipeline,
        simulated_dataset("locate_solve", examples, seed),
        [f"sim/{model.name}" for model in MODELS],
        Gateway(cache=None),
        seed=seed,
        stages=stages,
    )
    state = bench.state("ours", Budget(calls=calls))
    begin(state)
    search(state, bench.plan())
    taken = state.evaluator.session.nominal.calls
    changed = state.baseline.differences(state.incumbent)
    score = mean_score(bench.state("scored"), state.incumbent)
    return [(each.module, each.knob, each.new) for each in changed], score, taken
