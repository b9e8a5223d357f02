"""The front of quality, cost and latency on locate-solve, against enumerating the whole space.

    python -m benchmarks pareto_front [--seeds 10] [--examples 100]

Four simulated models, each module asked once or three times: 64 configs. The hypervolume is that of
the configs that a search holds for its front, with their true figures on the search examples; the
reference point is accuracy 0 at the dearest config's dollars and seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.hypervolume import hypervolume
from benchmarks.searching import Bench
from benchmarks.worlds import simulated_dataset
from evaluators.objective import Costs, front
from optimizer.search.state import SearchState
from optimizer.stages.structure.knobs import Knobs
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway
from search_spaces import PipelineConfig, SearchSpace

MODELS = ("sim/hazel", "sim/alder", "sim/birch", "sim/rowan")
TEMPERATURE = 0.7
SPACE = SearchSpace(width=(1, 3), temperature=(TEMPERATURE,), aggregator=("majority_vote",))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--examples", type=int, default=100)
    options = parser.parse_args()
    print("seed | hypervolume: ours  random | front: true  ours | calls: all   ours | s")
    table = []
    for seed in range(options.seeds):
        started = time.perf_counter()
        row = run_seed(seed, options.examples)
        table.append(row)
        ours, rand, true_size, our_size, all_calls, calls = row
        print(
            f"{seed:4d} | {ours:17.4f} {rand:7.4f} | {true_size:11.0f} {our_size:5.0f} | "
            f"{all_calls:10.0f} {calls:6.0f} | {time.perf_counter() - started:.0f}",
            flush=True,
        )
    ours, rand, _, _, all_calls, calls = np.array(table).T
    print(
        f"\nhypervolume relative to enumeration: ours {ours.mean():.4f} on average, "
        f"{ours.min():.4f} at least, in {np.mean(calls / all_calls):.2f} of its calls; random "
        f"search at our calls {rand.mean():.4f} on average, {rand.min():.4f} at least"
    )


def run_seed(seed: int, examples: int) -> tuple[float, ...]:
    """Hypervolumes relative to the true front's, sizes of fronts, and calls."""
    bench = Bench(
        pipeline=_pipeline(),
        rows=simulated_dataset("locate_solve", examples, seed),
        models=MODELS,
        gateway=Gateway(cache=None),
        seed=seed,
        stages=("allocation", "structure"),
        space=SPACE,
        objective="pareto",
    )
    ours, calls = bench.search()
    everything = bench.state("exhaustive")
    configs = list(_every_config(everything))
    true = {c.key: everything.evaluator.evaluate(c, everything.examples).costs for c in configs}
    worst = Costs(0.0, max(c.usd for c in true.values()), max(c.latency_s for c in true.values()))
    whole = hypervolume(true.values(), worst)
    rand = _random(bench.state("random"), configs, calls, seed)
    held = [true[config.key] for config in ours.front() if config.key in true]
    return (
        hypervolume(held, worst) / whole,
        hypervolume([true[config.key] for config in rand], worst) / whole,
        len(front(true.values())),
        len(held),
        everything.evaluator.session.nominal.calls,
        calls,
    )


def _pipeline() -> Pipeline:
    told = "Extract the task whose ID is asked for."
    return Pipeline(
        "locate-solve",
        [
            Module("locate", "table, question -> task", instructions=told, temperature=TEMPERATURE),
            Module("solve", "task -> answer", temperature=TEMPERATURE),
        ],
    )


def _every_config(state: SearchState) -> Sequence[PipelineConfig]:
    knobs = Knobs(state.evaluator.pipeline, state.space, state.baseline, True, lambda: MODELS[0])
    return list(knobs.every_config(state.baseline))


def _random(
    state: SearchState, configs: Sequence[PipelineConfig], calls: int, seed: int
) -> list[PipelineConfig]:
    """Configs in random order, each on all examples, as many as so many calls allow."""
    tried: list[PipelineConfig] = []
    for place in np.random.default_rng(seed).permutation(len(configs)):
        if state.evaluator.session.nominal.calls >= calls:
            break
        tried.append(configs[place])
        state.evaluator.evaluate(configs[place], state.examples)
    return tried
