"""What a search leaves beside MLflow: the tuned pipeline, and a page of figures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.formatting import command
from optimizer.search.records.trial import config_text

if TYPE_CHECKING:
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import Result


def save(
    result: Result, pipeline: Path, report: Path | None, point: OperatingPoint | None = None
) -> None:
    """Write the files, and say how to go on with them.

    Args:
        result: told already.
        pipeline: where the tuned pipeline goes.
        report: where the page goes; None for no page.
        point: one of the front, to be written in place of the tuned pipeline.

    Raises:
        OSError: a file can't be written.
    """
    from optimizer.formatting import ui_command

    result.save(pipeline, point)
    told = "the tuned pipeline" if point is None else config_text(point.config)
    print(f"\nSaved\n  {pipeline}: {told}")
    if report is not None:
        result.report(report)
        print(f"  {report}: figures, plots and all trials")
    run = f"{command('compound-optimizer')} run {shlex.quote(str(pipeline))}"
    inputs = " ".join(f"{name}=..." for name in result.pipeline.inputs)
    print(f"\nNext\n  {run} --input {inputs}\n  {run} --dataset rows.jsonl --output answers.jsonl")
    if result.run_id:
        print(f"  {ui_command(result.tracking_uri)}")
