"""`optimize` and `estimate PIPELINE DATASET`: tune a pipeline, or say what that would take."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optimizer
from evaluators.objective import Objective
from optimizer.cli.arguments import UNMET
from optimizer.cli.targets import load_target, print_json, replaces, writable
from optimizer.formatting import command, ui_command
from optimizer.results.operating_points import OperatingPoint
from optimizer.results.plain_figures import result_figures
from optimizer.results.result import Result
from optimizer.results.summary_text import code_options, summary_text
from optimizer.search.records.trial import config_text
from optimizer.stages.resolver import chosen_stages
from pipelines.files.yaml_text import read_text, read_yaml
from pipelines.gateway.budget import Budget
from search_spaces import SearchSpace

ALIKE = ("metric", "holdout", "concurrency", "seed", "experiment")
"""Options that are called as the arguments of `optimize`, and mean the same."""
_CONNECT_S = 10


def optimize(options: argparse.Namespace) -> int:
    """Tune the pipeline, print the result and save it.

    Returns:
        0, or 3 if what is saved does not meet the limits.
    """
    saved = writable("--save", options.save)
    report = writable("--report", options.report) if options.report else None
    wanted = given_objective(options)
    with _workers_of(options.dask):
        result = optimizer.optimize(**_arguments(options))
    point = None
    if options.pareto and wanted.limited and result.points:
        point = wanted.choose(result.points, [point.costs for point in result.points])
    print(summary_text(result, shell=True), end="")
    save(result, saved, report, point)
    meets = wanted.meets((point or result.tuned_figures).costs)
    if options.json:
        files = {"saved": options.save, "report": options.report, "meets_objective": meets}
        print_json({**result_figures(result), **files}, options.stdout)
    if meets:
        return 0
    problem = f"what was found, and saved, does not meet the objective ({wanted})"
    print(f"compound-optimizer optimize: {problem}", file=sys.stderr)
    return UNMET


@contextmanager
def _workers_of(scheduler: str | None) -> Iterator[None]:
    """Within it, the workers of this Dask scheduler make the calls; without one, this process."""
    if scheduler is None:
        yield
        return
    try:
        import joblib
        from distributed import Client
    except ImportError as error:
        raise ValueError(f"--dask needs Dask ({error}): pip install distributed") from error
    try:
        client = Client(scheduler, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        example = "such as tcp://127.0.0.1:8786"
        problem = f"--dask: no scheduler answers at {scheduler!r}, {example}: {error}"
        raise ValueError(problem) from error
    with client, joblib.parallel_config("dask", client=client):
        yield


def estimate(options: argparse.Namespace) -> int:
    """Print what `optimize` with the same arguments would take; nothing is called."""
    estimated = optimizer.optimize(**_arguments(options), dry_run=True)
    if options.json:
        print_json(estimated.to_dict(), options.stdout)
    else:
        print(estimated.text(shell=True), end="")
    return 0


def save(
    result: Result, pipeline: Path, report: Path | None, point: OperatingPoint | None = None
) -> None:
    """Write the pipeline, or that of the point, and the page if it has a path."""
    saved = "the tuned pipeline" if point is None else config_text(point.config)
    replaced = {path: replaces(path) for path in (pipeline, report) if path is not None}
    result.save(pipeline, point)
    print(f"\nSaved\n  {pipeline}: {saved}{replaced[pipeline]}")
    if report is not None:
        result.report(report)
        print(f"  {report}: figures, plots and all trials{replaced[report]}")
    own, path = command("compound-optimizer"), shlex.quote(str(pipeline))
    path += code_options(read_yaml(read_text(pipeline))[0])
    inputs = " ".join(f"{name}=..." for name in result.pipeline.inputs)
    print(f"\nNext\n  {own} run {path} --input {inputs}")
    print(f"  {own} run {path} --dataset rows.jsonl --output answers.jsonl")
    print(f"  {own} serve {path}")
    if result.run_id:
        print(f"  {ui_command(result.tracking_uri)}")


def _arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `optimize`, by name; raises ValueError if options do not fit together."""
    if options.of == "single_model" and options.pareto:
        raise ValueError("--of single_model does not go with --pareto")
    stages = listed(options.stages)
    return {
        "pipeline": load_target(
            options.pipeline, allow_code=options.allow_code, program=options.program
        ),
        "dataset": options.dataset,
        "models": given_models(options),
        **{name: getattr(options, name) for name in (*ALIKE, "start")},
        "budget": given_budget(options),
        "search_space": _search_space(options.search_space) if options.search_space else None,
        "objective": "pareto" if options.pareto else given_objective(options),
        "stages": chosen_stages(stages, options.strategy, options.prompt_optimizer),
        "diagnoser": None if options.diagnoser == "none" else options.diagnoser,
    }


def given_models(options: argparse.Namespace) -> list[str] | None:
    """The names given by `--models`, in their order; None without any."""
    return [name for part in options.models for name in listed(part)] or None


def given_budget(options: argparse.Namespace) -> Budget | None:
    """The caps that were given; None without any."""
    caps = options.budget_usd, options.budget_calls, options.budget_seconds
    return None if caps == (None, None, None) else Budget(*caps)


def given_objective(options: argparse.Namespace) -> Objective:
    """Quality, within the limits that were given."""
    return Objective(
        max_cost_usd=options.max_cost_usd,
        max_latency_s=options.max_latency_s,
        max_latency_p95_s=options.max_latency_p95_s,
        within=options.within,
        of=options.of,
    )


def _search_space(path: str) -> SearchSpace:
    """The choices that a YAML file lists by knob."""
    data, _ = read_yaml(read_text(path), path)
    if not isinstance(data, dict) or not all(isinstance(knob, str) for knob in data):
        raise ValueError(
            f"{path} must list choices by knob, such as `width: [1, 3]`, but got {data!r}"
        )
    try:
        return SearchSpace(**data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def listed(text: str) -> list[str]:
    """The names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
