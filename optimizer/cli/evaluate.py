"""`evaluate PIPELINE DATASET`: scores a pipeline as it is, and searches nothing."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from evaluators.evaluator import Evaluator
from evaluators.outcome import Evaluation
from optimizer.cli.arguments import FAILED, TOO_LOW
from optimizer.cli.targets import load_target, print_json
from optimizer.cli.tune import given_budget, given_models
from optimizer.formatting import counted, dollars, percent, percent_interval, seconds
from optimizer.setup.model_checks import check_calls_can_be_made, check_models_answer
from optimizer.setup.plan import Plan, prepare
from pipelines.gateway.budget import Spend
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import default_gateway
from search_spaces.refusals import check_whole


def evaluate(options: argparse.Namespace) -> int:
    """Run every example once, and print score, cost and failures.

    Returns:
        0; 1 if calls failed on too many examples for the score to count, or the budget ended;
        4 if the score is below `--min-score`.
    """
    lowest = options.min_score
    if lowest is not None and not 0 <= lowest <= 1:
        raise ValueError(f"--min-score must be in [0, 1], such as 0.8, but got {lowest:g}")
    plan, known, spent = _evaluated(options)
    if options.json:
        print_json(_figures(plan, known, spent), options.stdout)
    else:
        print(_text(plan, known, spent))
    if known.disqualified or known.interval is None:
        problem = f"calls failed on {known.hit} of {len(known.outcomes)} examples: no score counts"
        code = FAILED
    elif lowest is not None and known.mean < lowest:
        problem = f"the score of {known.mean:.4f} is below --min-score {lowest:g}"
        code = TOO_LOW
    else:
        return 0
    print(f"compound-optimizer evaluate: {problem}", file=sys.stderr)
    return code


def _evaluated(options: argparse.Namespace) -> tuple[Plan, Evaluation, Spend]:
    """The checked arguments, the evaluation and the spend."""
    check_whole("concurrency", options.concurrency, 1)
    models = given_models(options)
    if models is not None and len(models) > 1:
        raise ValueError(
            f"--models may name one model here, for the modules that name none, but got "
            f"{len(models)}: evaluate compares nothing, optimize does"
        )
    plan = prepare(
        load_target(options.pipeline, allow_code=options.allow_code, program=options.program),
        options.dataset,
        models,
        metric=options.metric,
        budget=given_budget(options),
        holdout=0,
    )
    check_calls_can_be_made(plan)
    session = default_gateway().session(f"evaluate {plan.account}", plan.budget)
    check_models_answer(plan, session)
    metric = plan.metric.open(session)
    evaluator = Evaluator(
        plan.pipeline, plan.models, plan.search, metric, session, options.concurrency
    )
    try:
        known = evaluator.evaluate(plan.baseline, range(len(plan.search)))
    except BudgetExhausted as exhausted:
        done = len(evaluator.known(plan.baseline).outcomes)
        raise RuntimeError(
            f"the budget ended after {done} of {len(plan.search)} examples: {exhausted}; give "
            "more, and what was answered so far is not paid for again"
        ) from exhausted
    return plan, known, session.nominal


def _figures(plan: Plan, known: Evaluation, spent: Spend) -> dict[str, Any]:
    return {
        "pipeline": plan.pipeline.name,
        "metric": plan.metric.name,
        "score": asdict(known.interval) if known.interval else None,
        "examples": len(known.scores),
        "unscored": known.unscored,
        "failures": known.failures,
        "usd_per_example": known.usd_per_example,
        "calls_per_example": known.calls_per_example,
        "latency_s": known.latency_s,
        "latency_p95_s": known.latency_p95_s,
        "spent": {"usd": spent.usd, "calls": spent.calls},
    }


def _text(plan: Plan, known: Evaluation, spent: Spend) -> str:
    score, examples = known.interval, counted(len(known.scores), "example")
    shown = f"{percent(score.mean)} {percent_interval(score)}" if score else "no score"
    lines = [
        f"{plan.pipeline.name}: {shown} ({plan.metric.name}, 95% interval, {examples})",
        f"{dollars(known.usd_per_example)} and {seconds(known.latency_s)} per example; "
        f"{dollars(spent.usd)} for {counted(spent.calls, 'call')} in all, at recorded prices",
    ]
    if known.failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in known.failures.items())
        lines.append(f"failures by kind: {kinds}; {known.unscored} without a score")
    return "\n".join(lines)
