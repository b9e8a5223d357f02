"""`report RUN`: the page of a finished run, from MLflow."""

from __future__ import annotations

import argparse


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    from optimizer.cli.targets import replaces, writable
    from optimizer.tracking.finished_run import report_page

    path = writable("--output", options.output)
    run_id, page = report_page(options.run, options.experiment)
    replaced = replaces(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(f"{path}: the page of run {run_id}{replaced}")
    return 0
