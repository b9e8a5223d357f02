"""What a search leaves beside MLflow: the tuned pipeline, and a page of figures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.wording import command

if TYPE_CHECKING:
    from optimizer.result import Result


def save(result: Result, pipeline: Path, report: Path | None) -> None:
    """Write the files, and say how to go on with them.

    Raises:
        OSError: a file can't be written.
    """
    result.save(pipeline)
    inputs = " ".join(f"{name}=..." for name in result.pipeline.inputs)
    print(f"tuned pipeline: {pipeline}")
    program = command("compound-optimizer")
    print(f"  {program} run {shlex.quote(str(pipeline))} --input {inputs}")
    if report is not None:
        result.report(report)
        print(f"report: {report}")
