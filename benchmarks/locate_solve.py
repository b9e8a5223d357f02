"""Locate-solve with ten simulated models: quality and calls beside exhaustive search and rivals.

python -m benchmarks locate_solve [--seeds 20] [--examples 100]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.searching import Bench, every_allocation, mean_score
from benchmarks.worlds import MODELS, simulated_dataset
from pipelines.gateway.gateway import Gateway
from pipelines.patterns import locate_solve

WAYS = ("ours", "no diagnoser", "llmselector", "halving", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    ways = " | ".join(f"{way:>12}: regret, calls" for way in WAYS)
    print(f"seed |  best | {ways} | best single | baseline |  s")
    table = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        started = time.perf_counter()
        row = run_seed(seed, options.examples)
        table.append(row)
        best, single, base, *pairs = row
        told = " | ".join(
            f"{100 * (best - score):20.1f} {calls:6.0f}"
            for score, calls in zip(pairs[::2], pairs[1::2], strict=True)
        )
        print(
            f"{seed:4d} | {best:.3f} | {told} | {single:11.3f} | {base:8.3f} | "
            f"{time.perf_counter() - started:.0f}",
            flush=True,
        )
    summarise(np.array(table))


def run_seed(seed: int, examples: int) -> tuple[float, ...]:
    """Scores on the search examples: the best mix, the best single model, the baseline, and then
    each way's score and calls."""
    bench = Bench(
        pipeline=locate_solve(),
        rows=simulated_dataset("locate_solve", examples, seed),
        models=[f"sim/{model.name}" for model in MODELS],
        gateway=Gateway(cache=None),
        seed=seed,
    )
    ours, calls = bench.search()
    everything = bench.state("exhaustive")
    scores = {c.key: mean_score(everything, c) for c in every_allocation(everything)}
    singles = [
        everything.baseline.with_models(dict.fromkeys(everything.space.models, label))
        for label in everything.space.single_models()
    ]
    found = [
        (ours, calls),
        bench.rival("default"),
        bench.rival("llmselector", diagnoser="auto"),
        bench.rival("halving", calls),
        bench.rival("random", calls),
    ]
    return (
        max(scores.values()),
        max(scores[c.key] for c in singles),
        scores[everything.baseline.key],
        *(figure for state, taken in found for figure in (scores[state.incumbent.key], taken)),
    )


def summarise(table: np.ndarray) -> None:
    """The figures that the documentation quotes."""
    best, single = table.T[:2]
    calls = dict(zip(WAYS, table.T[4::2], strict=True))
    print(f"\nbest mix: {best.min():.3f} at least; best single model: {single.max():.3f} at most")
    for way, scores in zip(WAYS, table.T[3::2], strict=True):
        regret = 100 * (best - scores)
        print(
            f"{way}: within 1 point of the best mix in {np.sum(regret <= 1 + 1e-9)} of "
            f"{len(table)} seeds; mean regret {regret.mean():.2f}, worst {regret.max():.1f} "
            f"points; calls {calls[way].mean():.0f} on average, {calls[way].max():.0f} at most"
        )
    share = np.max(calls["ours"] / calls["llmselector"])
    print(f"ours takes {share:.2f} of LLMSelector's calls at most")
