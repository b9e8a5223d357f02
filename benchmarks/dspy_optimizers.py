"""Our prompts stage against plain DSPy: GEPA and MIPROv2 on the same program, metric and calls.

python -m benchmarks dspy_optimizers [--seeds 20] [--examples 100] [--calls 3000]

Each seed draws one simulated model for both modules, with tastes of its own for phrases in the
instructions; it writes the prompts too. All see the same examples, and hear from the metric what
was wanted. Plain GEPA is stopped as soon as it has made as many calls as ours may; plain MIPROv2
can't be stopped, and gets trials for so many, its bootstrapping and full evaluations on top. What
they end with is scored on 400 other examples. Equal calls count once for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy

from benchmarks.dspy_locate_solve import LocateSolve
from benchmarks.prompts_and_models import UNSEEN, models_of
from benchmarks.searching import Bench, compared, seeds_parser
from benchmarks.worlds import simulated_dataset
from optimizer.loop import begin, search
from optimizer.quiet_logs import quiet_optuna
from pipelines.adapters.dspy_programs.quiet import quiet
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.model import Model
from pipelines.programs.engine import GatewayLM

MINIBATCH = 35
"""MIPROv2's own: a trial runs the program so many times."""
CALLS_PER_RUN = 2


def main() -> None:
    options = seeds_parser(__doc__, seeds=20, calls=3000).parse_args()
    compared(
        ("ours", "as given", *RIVALS),
        range(options.first_seed, options.first_seed + options.seeds),
        lambda seed: run_seed(seed, options.examples, options.calls),
    )


def run_seed(seed: int, examples: int, calls: int) -> list[tuple[float, int]]:
    """Score on unseen examples, and calls: of ours, of the program as given, of the rivals."""
    model, rows = models_of(seed)[0], simulated_dataset("locate_solve", examples, seed)
    unseen = as_examples(simulated_dataset("locate_solve", UNSEEN, 1000 + seed))
    gateway = Gateway(cache=None)
    found = [ours(gateway, model, rows, calls, seed), (LocateSolve(), 0)]
    for name, rival in RIVALS.items():
        session = gateway.session(name)
        found.append((rival(session, model, as_examples(rows), calls, seed), session.nominal.calls))
    return [(score(gateway.session("unseen"), model, each, unseen), n) for each, n in found]


def ours(
    gateway: Gateway, model: str, rows: list[dict[str, str]], calls: int, seed: int
) -> tuple[dspy.Module, int]:
    bench = Bench(
        LocateSolve(), rows, [model], gateway, metric=graded, seed=seed, stages=("prompts",)
    )
    state = bench.state("ours", Budget(calls=calls))
    begin(state)
    search(state, bench.plan())
    tuned = LocateSolve()
    for name, predictor in tuned.named_predictors():
        config = state.incumbent.modules[name]
        if config.instructions is not None:
            predictor.signature = predictor.signature.with_instructions(config.instructions)
        predictor.demos = [dict(demo) for demo in config.demos]
    return tuned, state.evaluator.session.nominal.calls


def gepa(session: Session, model: str, examples: list[Any], calls: int, seed: int) -> dspy.Module:
    train, rest = examples[: len(examples) // 2], examples[len(examples) // 2 :]
    optimizer = dspy.GEPA(
        graded,
        max_metric_calls=10 * calls,  # the calls end it before
        reflection_lm=writer(session, model),
        num_threads=16,
        seed=seed,
        warn_on_score_mismatch=False,
        gepa_kwargs={"stop_callbacks": [lambda state: session.nominal.calls >= calls]},
    )
    with quiet("dspy"), dspy.context(lm=GatewayLM(Model(model), session)):
        return optimizer.compile(LocateSolve(), trainset=train, valset=rest)


def mipro(session: Session, model: str, examples: list[Any], calls: int, seed: int) -> dspy.Module:
    optimizer = dspy.MIPROv2(
        metric=lambda *given: float(graded(*given).score),
        prompt_model=writer(session, model),
        task_model=GatewayLM(Model(model), session),
        auto=None,
        num_candidates=12,
        num_threads=16,
        seed=seed + 1,  # it takes 0 for none
    )
    trials = calls // (CALLS_PER_RUN * MINIBATCH)
    with quiet("dspy"), quiet_optuna(), dspy.context(lm=GatewayLM(Model(model), session)):
        return optimizer.compile(LocateSolve(), trainset=examples, num_trials=trials)


RIVALS: dict[str, Callable[..., dspy.Module]] = {"plain GEPA": gepa, "plain MIPROv2": mipro}


def graded(
    example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Exact match, and what was wanted, in the form that GEPA reads."""
    right = dspy.evaluate.answer_exact_match(example, prediction)
    return dspy.Prediction(score=float(right), feedback=f"wanted: {example.answer}")


def writer(session: Session, model: str) -> GatewayLM:
    return GatewayLM(Model(model), session, temperature=1.0, purpose="prompts")


def as_examples(rows: list[dict[str, str]]) -> list[Any]:
    return [dspy.Example(**row).with_inputs("table", "question") for row in rows]


def score(session: Session, model: str, program: dspy.Module, examples: list[Any]) -> float:
    """Of a program, by DSPy's own evaluation."""
    evaluate = dspy.Evaluate(
        devset=examples, metric=graded, num_threads=16, display_progress=False, display_table=False
    )
    with quiet("dspy"), dspy.context(lm=GatewayLM(Model(model), session)):
        return float(evaluate(program).score) / 100
