"""Prompts for the blamed modules, or for all alike: the calls that the same gain takes.

python -m benchmarks blamed_modules [--seeds 10] [--modules 6] [--examples 100] [--calls 4000]

A chain of modules asks one simulated model, which does all of their tasks well but one; which one,
and what phrases in the instructions do to it, is drawn by seed. One search tunes the prompts of the
modules that the diagnoser blames, the other those of all modules in turn. Whatever led in between
is scored on 200 other examples. The gain is what the one with the lesser gain ends with there, and
each counts its calls until it first has that, diagnoses included; those for the pipeline as given
are the same for both, and not counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.chains import chain_bench
from benchmarks.searching import mean_score, seeds_parser, tastes
from benchmarks.worlds import SimulatedModel, chain_modules, register
from optimizer.loop import begin, search
from optimizer.search.records.trial import Trial
from pipelines.gateway.budget import Budget
from search_spaces import PipelineConfig

WEAK, ABLE = 0.4, 0.97
UNSEEN = 200
LEAST_GAIN = 0.05
"""Where not even this is gained, there is nothing to compare."""

Path = Sequence[tuple[int, float]]
"""Calls so far, and the score on unseen examples of what led then."""


def main() -> None:
    parser = seeds_parser(__doc__, seeds=10, calls=4000)
    parser.add_argument("--modules", type=int, default=6)
    options = parser.parse_args()
    print("seed | given | blamed: score, calls | all alike: score, calls | same gain: calls |   s")
    counts = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        started = time.perf_counter()
        model = model_of(seed, options.modules)
        blamed, alike = (
            path_of(model, options.modules, options.examples, options.calls, seed, diagnoser)
            for diagnoser in ("auto", None)
        )
        given, target = blamed[0][1], min(blamed[-1][1], alike[-1][1])
        told = "nothing gained"
        if target >= given + LEAST_GAIN:
            counts.append([calls_until(target, path) - path[0][0] for path in (blamed, alike)])
            told = "{:5d} against {:5d}".format(*counts[-1])
        ends = " | ".join(f"{path[-1][1]:.3f} {path[-1][0]:6d}" for path in (blamed, alike))
        seconds = time.perf_counter() - started
        print(f"{seed:4d} | {given:.3f} | {ends} | {told} | {seconds:.0f}", flush=True)
    if not counts:
        print("nothing was gained in any seed")
        return
    ours, theirs = np.mean(counts, axis=0)
    print(
        f"the same gain in {len(counts)} of {options.seeds} seeds: {ours:,.0f} calls with blame, "
        f"{theirs:,.0f} for all alike, {ours / theirs:.2f} of them"
    )


def path_of(
    model: str, modules: int, examples: int, calls: int, seed: int, diagnoser: str | None
) -> Path:
    """How the score on unseen examples moved with the calls, from the pipeline as given on."""
    bench, unseen = chain_bench(modules, examples, seed), chain_bench(modules, UNSEEN, 1000 + seed)
    for each in (bench, unseen):
        each.models, each.stages, each.diagnoser = [model], ["prompts"], diagnoser
    state = bench.state("ours", Budget(calls=calls))
    led: list[tuple[int, PipelineConfig]] = []

    def note(_: Trial) -> None:
        led.append((state.evaluator.session.nominal.calls, state.incumbent))

    state.on_trial = note
    begin(state)
    search(state, bench.plan())
    scoring = unseen.state("unseen")
    return [(taken, mean_score(scoring, config)) for taken, config in led]


def calls_until(target: float, path: Path) -> int:
    return next(calls for calls, score in path if score >= target)


def model_of(seed: int, modules: int) -> str:
    """Able in all tasks of the chain but one."""
    rng = np.random.default_rng(seed)
    skills = [module["name"] for module in chain_modules(modules)]
    weak = skills[int(rng.integers(modules))]
    effects = tastes(rng, skills)
    abilities = {**dict.fromkeys(skills, ABLE), weak: WEAK}
    judging = {"diagnose": 0.85, "compare": 0.97, "write_instructions": 0.8}
    model = SimulatedModel(f"weak-{seed}", skills={**abilities, **judging}, phrase_effects=effects)
    return f"sim/{register(model).name}"
