"""`optimize PIPELINE.yaml DATASET`: the main job on files."""

from __future__ import annotations

import argparse
from pathlib import Path


def optimize_file(options: argparse.Namespace) -> int:
    """Tune the pipeline, print the result and save it.

    Raises:
        ValueError: an argument, the pipeline or the dataset is wrong.
        OSError: a file can't be read or written.
    """
    from optimizer import Budget, Objective, Pipeline, optimize
    from optimizer.cli.saving import save

    _check_budget(options)
    pipeline = Pipeline.load(options.pipeline)
    names = [name.strip() for part in options.models for name in part.split(",") if name.strip()]
    result = optimize(
        pipeline,
        options.dataset,
        names or None,
        metric=options.metric,
        budget=Budget(options.budget_usd, options.budget_calls, options.budget_seconds),
        objective=Objective(
            max_cost_usd=options.max_cost_usd,
            max_latency_s=options.max_latency_s,
            within=options.within,
            pareto=options.pareto,
        ),
        stages=[name.strip() for name in options.stages.split(",") if name.strip()],
        diagnoser=None if options.diagnoser == "none" else options.diagnoser,
        holdout=options.holdout,
        concurrency=options.concurrency,
        seed=options.seed,
        experiment=options.experiment,
    )
    print(result)
    save(result, Path(options.save), Path(options.report) if options.report else None)
    return 0


def _check_budget(options: argparse.Namespace) -> None:
    for name in ("usd", "calls", "seconds"):
        value = getattr(options, f"budget_{name}")
        if value is not None and not value > 0:
            raise ValueError(f"`--budget-{name} > 0` must hold, but got {value}")
