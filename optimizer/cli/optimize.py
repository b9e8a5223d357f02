"""`optimize PIPELINE.yaml DATASET`: the main job on files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.cli.exit_codes import UNMET

if TYPE_CHECKING:
    from evaluators.objective import Objective
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import Result


def optimize_file(options: argparse.Namespace) -> int:
    """Tune the pipeline, print the result and save it.

    Returns:
        0, or 3 if what is saved does not meet the limits.

    Raises:
        ValueError: an argument, the pipeline or the dataset is wrong.
        OSError: a file can't be read or written.
    """
    from optimizer import Budget, Objective, Pipeline, Prompts, optimize
    from optimizer.cli.saving import save
    from optimizer.results.summary_text import summary_text

    _check_numbers(options)
    _check_files(options)
    wanted = Objective(
        max_cost_usd=options.max_cost_usd,
        max_latency_s=options.max_latency_s,
        max_latency_p95_s=options.max_latency_p95_s,
        within=options.within,
        of=options.of,
    )
    pipeline = Pipeline.load(options.pipeline)
    names = [name for part in options.models for name in _listed(part)]
    prompts = Prompts(options.prompt_optimizer)
    result = optimize(
        pipeline,
        options.dataset,
        names or None,
        metric=options.metric,
        budget=Budget(options.budget_usd, options.budget_calls, options.budget_seconds),
        objective="pareto" if options.pareto else wanted,
        stages=[prompts if name == prompts.name else name for name in _listed(options.stages)],
        diagnoser=None if options.diagnoser == "none" else options.diagnoser,
        holdout=options.holdout,
        concurrency=options.concurrency,
        seed=options.seed,
        experiment=options.experiment,
    )
    print(summary_text(result, shell=True), end="")
    point = _chosen(result, wanted) if options.pareto and wanted.limited else None
    save(result, Path(options.save), Path(options.report) if options.report else None, point)
    if wanted.meets((point or result.tuned_figures).costs):
        return 0
    told = f"what was found, and saved, does not meet the objective ({wanted})"
    print(f"compound-optimizer optimize: {told}", file=sys.stderr)
    return UNMET


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _chosen(result: Result, wanted: Objective) -> OperatingPoint | None:
    """The point of the front that the limits choose, or else the closest to them."""
    if not result.points:
        return None
    return wanted.choose(result.points, [point.costs for point in result.points])


def _check_numbers(options: argparse.Namespace) -> None:
    caps = ("budget_usd", "budget_calls", "budget_seconds")
    for name in (*caps, "max_cost_usd", "max_latency_s", "max_latency_p95_s"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"`--{name.replace('_', '-')} > 0` must hold, but got {value}")
    if options.within is not None and not 0 <= options.within < 1:
        raise ValueError(f"`0 <= --within < 1` must hold, but got {options.within}")
    if options.of == "single_model" and options.within is None:
        raise ValueError("--of single_model needs --within, such as --within 0.01")
    if options.of == "single_model" and options.pareto:
        raise ValueError("--of single_model does not go with --pareto")


def _check_files(options: argparse.Namespace) -> None:
    """What can't be written is better known before the search than after it."""
    for name in ("save", "report"):
        path = getattr(options, name)
        if path is not None and Path(path).is_dir():
            raise ValueError(f"--{name} must name a file, but {path} is a folder")
