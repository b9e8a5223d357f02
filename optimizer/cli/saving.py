"""Saves a result's files, and prints the next steps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.formatting import command, ui_command
from optimizer.search.trial import config_text

if TYPE_CHECKING:
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import Result


def save(
    result: Result, pipeline: Path, report: Path | None, point: OperatingPoint | None = None
) -> None:
    """Write the pipeline (that of the point, if one is given), and the page if it has a path.

    Raises:
        OSError: a file can't be written.
    """
    result.save(pipeline, point)
    saved = "the tuned pipeline" if point is None else config_text(point.config)
    print(f"\nSaved\n  {pipeline}: {saved}")
    if report is not None:
        result.report(report)
        print(f"  {report}: figures, plots and all trials")
    run = f"{command('compound-optimizer')} run {shlex.quote(str(pipeline))}"
    inputs = " ".join(f"{name}=..." for name in result.pipeline.inputs)
    print(f"\nNext\n  {run} --input {inputs}\n  {run} --dataset rows.jsonl --output answers.jsonl")
    if result.run_id:
        print(f"  {ui_command(result.tracking_uri)}")
