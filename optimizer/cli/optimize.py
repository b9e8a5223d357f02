"""`optimize PIPELINE.yaml DATASET`: tunes a pipeline, and saves the result."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.cli.arguments import UNMET

if TYPE_CHECKING:
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import Result


def run(options: argparse.Namespace) -> int:
    """Tune the pipeline, print the result and save it.

    Returns:
        0, or 3 if what is saved does not meet the limits.
    """
    from optimizer import Budget, Objective, Pipeline, Prompts, optimize
    from optimizer.results.summary_text import summary_text

    if options.of == "single_model" and options.pareto:
        raise ValueError("--of single_model does not go with --pareto")
    for name in ("save", "report"):  # better found before the search than after it
        path = getattr(options, name)
        if path is not None and Path(path).is_dir():
            raise ValueError(f"--{name} must name a file, but {path} is a folder")
    wanted = Objective(
        max_cost_usd=options.max_cost_usd,
        max_latency_s=options.max_latency_s,
        max_latency_p95_s=options.max_latency_p95_s,
        within=options.within,
        of=options.of,
    )
    prompts = Prompts(options.prompt_optimizer)
    result = optimize(
        Pipeline.load(options.pipeline, allow_code=options.allow_code),
        options.dataset,
        [name for part in options.models for name in _listed(part)] or None,
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
    point = None
    if options.pareto and wanted.limited and result.points:
        point = wanted.choose(result.points, [point.costs for point in result.points])
    save(result, Path(options.save), Path(options.report) if options.report else None, point)
    if wanted.meets((point or result.tuned_figures).costs):
        return 0
    problem = f"what was found, and saved, does not meet the objective ({wanted})"
    print(f"compound-optimizer optimize: {problem}", file=sys.stderr)
    return UNMET


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def save(
    result: Result, pipeline: Path, report: Path | None, point: OperatingPoint | None = None
) -> None:
    """Write the pipeline (that of the point, if one is given), and the page if it has a path."""
    from optimizer.formatting import command, ui_command
    from optimizer.search.records.trial import config_text
    from pipelines.files.named_code import named_code
    from pipelines.files.yaml_text import read_text, read_yaml

    saved = "the tuned pipeline" if point is None else config_text(point.config)
    replaced = {path: _replaced(path) for path in (pipeline, report) if path is not None}
    result.save(pipeline, point)
    print(f"\nSaved\n  {pipeline}: {saved}{replaced[pipeline]}")
    if report is not None:
        result.report(report)
        print(f"  {report}: figures, plots and all trials{replaced[report]}")
    run = f"{command('compound-optimizer')} run {shlex.quote(str(pipeline))}"
    run += " --allow-code" * any(named_code(read_yaml(read_text(pipeline))[0]))
    inputs = " ".join(f"{name}=..." for name in result.pipeline.inputs)
    print(f"\nNext\n  {run} --input {inputs}\n  {run} --dataset rows.jsonl --output answers.jsonl")
    if result.run_id:
        print(f"  {ui_command(result.tracking_uri)}")


def _replaced(path: Path) -> str:
    return " (replaces the file that was there)" if path.exists() else ""
