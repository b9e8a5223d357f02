"""`optimize PIPELINE DATASET`: tunes a pipeline, and saves the result."""

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
    from optimizer import optimize
    from optimizer.cli.figures import print_json
    from optimizer.cli.search_arguments import given_objective, search_arguments
    from optimizer.cli.targets import writable
    from optimizer.results.plain_figures import result_figures
    from optimizer.results.summary_text import summary_text

    saved = writable("--save", options.save)
    report = writable("--report", options.report) if options.report else None
    wanted = given_objective(options)
    result = optimize(**search_arguments(options))
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


def save(
    result: Result, pipeline: Path, report: Path | None, point: OperatingPoint | None = None
) -> None:
    """Write the pipeline (that of the point, if one is given), and the page if it has a path."""
    from optimizer.cli.targets import replaces
    from optimizer.formatting import command, ui_command
    from optimizer.search.records.trial import config_text
    from pipelines.files.named_code import named_code
    from pipelines.files.yaml_text import read_text, read_yaml

    saved = "the tuned pipeline" if point is None else config_text(point.config)
    replaced = {path: replaces(path) for path in (pipeline, report) if path is not None}
    result.save(pipeline, point)
    print(f"\nSaved\n  {pipeline}: {saved}{replaced[pipeline]}")
    if report is not None:
        result.report(report)
        print(f"  {report}: figures, plots and all trials{replaced[report]}")
    run = f"{command('compound-optimizer')} run {shlex.quote(str(pipeline))}"
    form = read_yaml(read_text(pipeline))[0]
    run += " --allow-code" * any(named_code(form))
    run += " --program MODULE:OBJECT" * isinstance(form.get("program"), dict)
    inputs = " ".join(f"{name}=..." for name in result.pipeline.inputs)
    print(f"\nNext\n  {run} --input {inputs}\n  {run} --dataset rows.jsonl --output answers.jsonl")
    if result.run_id:
        print(f"  {ui_command(result.tracking_uri)}")
