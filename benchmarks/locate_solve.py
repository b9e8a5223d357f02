"""Locate-solve with ten simulated models: quality and calls beside exhaustive search and rivals.

python -m benchmarks locate_solve [--seeds 20] [--examples 100]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.searching import (
    Bench,
    every_allocation,
    llmselector_as_published,
    mean_score,
    race_every_module,
    random_search,
)
from evaluators.racing.stopping import HURRIED
from pipelines.llms.gateway import Gateway
from pipelines.llms.simulated import MODELS, simulated_dataset
from pipelines.patterns import locate_solve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    print(
        "seed | exhaustive | ours  regret  calls | published  regret   calls | raced  regret"
        "  calls | random  regret | best single | baseline | s"
    )
    table = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        started = time.perf_counter()
        row = run_seed(seed, options.examples)
        table.append(row)
        best, single, base, ours, calls, published, published_calls, raced, raced_calls, rand = row
        print(
            f"{seed:4d} | {best:10.3f} | {ours:.3f} {100 * (best - ours):6.1f} {calls:6.0f} | "
            f"{published:9.3f} {100 * (best - published):7.1f} {published_calls:7.0f} | "
            f"{raced:.3f} {100 * (best - raced):7.1f} {raced_calls:6.0f} | "
            f"{rand:.3f} {100 * (best - rand):6.1f}  | {single:11.3f} | {base:8.3f} | "
            f"{time.perf_counter() - started:.0f}",
            flush=True,
        )
    summarise(np.array(table))


def run_seed(seed: int, examples: int) -> tuple[float, ...]:
    """Scores on the search examples, and calls, of everything on one dataset."""
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
    published = bench.state("published")
    assert ours.diagnoser is not None
    chosen = llmselector_as_published(published, ours.diagnoser.model)
    raced = bench.state("raced")
    race_every_module(raced, HURRIED)
    rand = random_search(bench.state("random"), calls, seed)
    return (
        max(scores.values()),
        max(scores[c.key] for c in singles),
        scores[everything.baseline.key],
        scores[ours.incumbent.key],
        calls,
        scores[chosen.key],
        published.evaluator.session.nominal.calls,
        scores[raced.incumbent.key],
        raced.evaluator.session.nominal.calls,
        scores[rand.key],
    )


def summarise(table: np.ndarray) -> None:
    """The figures that the README quotes."""
    best, single, _, ours, calls, published, published_calls, raced, raced_calls, rand = table.T
    regret = 100 * (best - ours)
    print(f"\nbest mix: {best.min():.3f} at least; best single model: {single.max():.3f} at most")
    print(
        f"ours: within 1 point of the exhaustive optimum in {np.mean(regret <= 1 + 1e-9):.0%} of "
        f"{len(table)} seeds (mean regret {regret.mean():.2f}, worst {regret.max():.1f} points); "
        f"calls {calls.mean():.0f} on average, {calls.max():.0f} at most"
    )
    print(
        f"LLMSelector as published: mean regret {100 * (best - published).mean():.2f} points, "
        f"calls {published_calls.mean():.0f} on average; ours take "
        f"{np.max(calls / published_calls):.2f} of its calls at most"
    )
    print(
        f"every model raced module by module, without diagnoser and single models: mean regret "
        f"{100 * (best - raced).mean():.2f}, worst {100 * (best - raced).max():.1f} points; calls "
        f"{raced_calls.mean():.0f} on average, {raced_calls.max():.0f} at most"
    )
    rivals = 100 * (best - rand)
    print(
        f"random search at our calls: within 1 point in {np.mean(rivals <= 1 + 1e-9):.0%}, mean "
        f"regret {rivals.mean():.2f} points"
    )


if __name__ == "__main__":
    main()
