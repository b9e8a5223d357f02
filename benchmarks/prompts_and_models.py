"""Prompts and models that hang on each other: searched together, alone, and one after the other.

python -m benchmarks prompts_and_models [--seeds 20] [--examples 100] [--calls 5000]

Each seed draws six simulated models: their skills, and what ten phrases in the instructions do to
each of them in each skill; to some they do much, to others hardly anything. So the best model of a
module depends on its prompt. All four searches have the same budget of calls;
what they end with is scored on 400 other examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.searching import SPREAD, Bench, compared, seeds_parser, tastes
from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from evaluators.evaluator import Evaluator
from optimizer.loop import begin, search, start_search
from optimizer.search.state import SearchState
from optimizer.setup.stage import Stage
from optimizer.stages.prompts import Prompts
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.patterns import locate_solve
from search_spaces import SearchSpace

SKILLS = ("locate", "arithmetic")
WAYS = ("together", "allocation alone", "prompts alone", "allocation, then prompts")
UNSEEN = 400


def main() -> None:
    parser = seeds_parser(__doc__, seeds=20, calls=5000)
    parser.add_argument("--optimizer", default="auto")
    options = parser.parse_args()
    compared(
        WAYS,
        range(options.first_seed, options.first_seed + options.seeds),
        lambda seed: run_seed(seed, options.examples, options.calls, options.optimizer),
    )


def run_seed(seed: int, examples: int, calls: int, optimizer: str) -> list[tuple[float, int]]:
    """Score on unseen examples, and calls, of every way to search."""
    bench = Bench(
        pipeline=locate_solve(),
        rows=simulated_dataset("locate_solve", examples, seed),
        models=models_of(seed),
        gateway=Gateway(cache=None),
        seed=seed,
    )
    unseen = simulated_dataset("locate_solve", UNSEEN, 1000 + seed)
    prompts = Prompts(optimizer)
    found = [
        searched(bench, calls, ("allocation", prompts)),
        searched(bench, calls, ("allocation",)),
        searched(bench, calls, (prompts,)),
        one_after_the_other(bench, calls, prompts),
    ]
    return [(score(state, unseen), state.evaluator.session.nominal.calls) for state in found]


def models_of(seed: int) -> list[str]:
    """Six models, some better at one task, some at the other, each with tastes of its own, which
    may be strong or weak."""
    rng = np.random.default_rng(seed)
    names = []
    for place in range(6):
        good, bad = rng.uniform(0.55, 0.8), rng.uniform(0.3, 0.6)
        locate, arithmetic = (good, bad) if place % 2 else (bad, good)
        model = SimulatedModel(
            f"taste-{seed}-{place}",
            skills={"locate": locate, "arithmetic": arithmetic, "diagnose": 0.85, "compare": 0.97,
                    "write_instructions": 0.8},
            phrase_effects=tastes(rng, SKILLS, rng.uniform(0.0, 2 * SPREAD)),
        )  # fmt: skip
        names.append(f"sim/{register(model).name}")
    return names


def searched(bench: Bench, calls: int, stages: Sequence[str | Stage]) -> SearchState:
    bench.stages = stages
    state = bench.state(repr(stages), Budget(calls=calls))
    begin(state)
    search(state, bench.plan())
    return state


def one_after_the_other(bench: Bench, calls: int, prompts: Stage) -> SearchState:
    """Models first, then prompts for what was found as long as they help; no model moves again."""
    first = searched(bench, calls, ("allocation",))
    chosen = first.incumbent
    judge = first.diagnoser.model.label if first.diagnoser else None
    then = replace(
        bench,
        pipeline=locate_solve().with_config(chosen, list(first.evaluator.models.values())),
        space=SearchSpace(models=chosen.allocation),
        stages=(prompts,),
        diagnoser=judge,
    )
    state = start_search(then.plan(), first.evaluator.session, bench.concurrency)
    begin(state)
    search(state, then.plan())
    return state


def score(state: SearchState, rows: Sequence[dict[str, str]]) -> float:
    """Of what leads in the end, on examples that no search has seen."""
    plan = Bench(locate_solve(), rows, list(state.evaluator.models), Gateway(cache=None)).plan()
    evaluator = Evaluator(
        plan.pipeline, plan.models, plan.search, plan.metric, Gateway(cache=None).session("unseen")
    )
    return evaluator.evaluate(state.incumbent, range(len(plan.search))).mean
