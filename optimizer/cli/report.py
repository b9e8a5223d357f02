"""`report RUN`: the page of a finished run, from MLflow."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    from optimizer.tracking.finished_run import report_page

    path = Path(options.output)
    if path.is_dir():
        raise ValueError(f"--output must name a file, but {path} is a folder")
    run_id, page = report_page(options.run, options.experiment)
    replaced = " (replaces the file that was there)" if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(f"{path}: the page of run {run_id}{replaced}")
    return 0
