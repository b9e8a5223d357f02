"""`evaluate PIPELINE DATASET`: scores a pipeline as it is, and searches nothing."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

import dspy

from optimizer.cli.arguments import FAILED, TOO_LOW
from optimizer.cli.targets import load_target, print_json
from optimizer.cli.tune import given_budget, given_models
from optimizer.evaluation.evaluation import Evaluated, recorded_scores
from optimizer.evaluation.evaluation import evaluate as evaluated
from optimizer.formatting import counted, dollars, percent, percent_interval, seconds
from pipelines import Tunable


def evaluate(options: argparse.Namespace) -> int:
    """Run every example once, and print score, drift, cost and failures.

    Returns:
        0; 1 if calls failed on too many examples for the score to count, or the budget ended;
        4 if the score is below `--min-score`, or has dropped by more than `--max-drop`.
    """
    lowest, most = options.min_score, options.max_drop
    for option, value in (("--min-score", lowest), ("--max-drop", most)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{option} must be in [0, 1], such as 0.8, but got {value:g}")
    models = _model(options)
    target = load_target(options.pipeline, allow_code=options.allow_code, program=options.program)
    if most is not None:
        _check_recorded(target, options)
    found = evaluated(
        target,
        options.dataset,
        models=models,
        metric=options.metric,
        budget=given_budget(options),
        concurrency=options.concurrency,
        strata=options.strata,
    )
    if options.json:
        print_json(_figures(found), options.stdout)
    else:
        print(_text(found))
    known, drift = found.evaluation, found.drift
    if known.disqualified or known.interval is None:
        problem = f"calls failed on {known.hit} of {len(known.outcomes)} examples: no score counts"
        code = FAILED
    elif lowest is not None and known.mean < lowest:
        problem = f"the score of {known.mean:.4f} is below --min-score {lowest:g}"
        code = TOO_LOW
    elif most is not None and drift is not None and drift.drops_by_more_than(most):
        problem = f"a drop of more than --max-drop {most:g} is shown {drift}"
        code = TOO_LOW
    else:
        return 0
    print(f"compound-optimizer evaluate: {problem}", file=sys.stderr)
    return code


def _check_recorded(target: Tunable | dspy.Module, options: argparse.Namespace) -> None:
    """Check, before anything is paid, that there are scores to compare with."""
    if recorded_scores(target, options.metric) is None:
        raise ValueError(
            f"--max-drop needs held-out scores by {options.metric} in {options.pipeline}, which "
            "`optimize` and result.save(...) record; --metric must be that of the search"
        )


def _model(options: argparse.Namespace) -> list[str] | None:
    models = given_models(options)
    if models is not None and len(models) > 1:
        raise ValueError(
            f"--models may name one model here, for the modules that name none, but got "
            f"{len(models)}: evaluate compares nothing, optimize does"
        )
    return models


def _figures(found: Evaluated) -> dict[str, Any]:
    known, drift = found.evaluation, found.drift
    return {
        "pipeline": found.plan.pipeline.name,
        "metric": found.plan.metric.name,
        "score": asdict(found.score) if found.score else None,
        "drift": asdict(drift) | {"text": str(drift)} if drift else None,
        "examples": len(known.scores),
        "unscored": known.unscored,
        "failures": known.failures,
        "usd_per_example": known.usd_per_example,
        "calls_per_example": known.calls_per_example,
        "latency_s": known.latency_s,
        "latency_p95_s": known.latency_p95_s,
        "spent": {"usd": found.spent.usd, "calls": found.spent.calls},
    }


def _text(found: Evaluated) -> str:
    known, plan, score = found.evaluation, found.plan, found.score
    examples = counted(len(known.scores), "example")
    shown = f"{percent(score.mean)} {percent_interval(score)}" if score else "no score"
    lines = [
        f"{plan.pipeline.name}: {shown} ({plan.metric.name}, 95% interval, {examples})",
        f"{dollars(known.usd_per_example)} and {seconds(known.latency_s)} per example; "
        f"{dollars(found.spent.usd)} for {counted(found.spent.calls, 'call')} in all, "
        "at recorded prices",
    ]
    if found.drift is not None:
        lines.insert(1, str(found.drift))
    if known.failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in known.failures.items())
        lines.append(f"failures by kind: {kinds}; {known.unscored} without a score")
    return "\n".join(lines)
