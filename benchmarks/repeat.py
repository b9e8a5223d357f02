"""The same run again, at another concurrency: no paid call, the same result to the last digit.

python -m benchmarks repeat [--examples 143]
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile

from benchmarks.worlds import MODELS, simulated_dataset
from optimizer import Gateway, Result, optimize
from pipelines.patterns import locate_solve


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=143)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        first, again = (run(options.examples, threads) for threads in (32, 3))
    print("run     | concurrency | paid calls | calls | $ nominal | held-out score | trials")
    for name, threads, result in (("first", 32, first), ("again", 3, again)):
        spent = result.spent
        print(
            f"{name:7s} | {threads:11d} | {spent.paid_now_calls:10d} | {spent.calls:5d} | "
            f"{spent.usd:9.6f} | {result.score.mean!r:14s} | {len(result.trials_)}"
        )
    print(f"same to the last digit: {told(first) == told(again)}")


def run(examples: int, concurrency: int) -> Result:
    """One search over a gateway of its own on the cache in this folder."""
    gateway = Gateway("cache")
    try:
        return optimize(
            locate_solve(),
            simulated_dataset("locate_solve", examples, 0),
            [f"sim/{model.name}" for model in MODELS],
            concurrency=concurrency,
            gateway=gateway,
        )
    finally:
        gateway.close()


def told(result: Result) -> object:
    """All that a result says, but for the clock and what was paid now."""
    trials = result.trials.drop(columns="seconds").to_csv(float_format=None)
    figures = (result.tuned_figures, result.baseline_figures, result.single_model_figures)
    spent = (result.spent.usd, result.spent.calls, result.spent.tokens)
    return result.config, figures, result.gain, result.gain_over_single, spent, trials
