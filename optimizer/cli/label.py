"""`label PIPELINE.yaml DATASET`: which rows to label next."""

from __future__ import annotations

import argparse
import json
import sys

from optimizer.cli.run import output_file
from optimizer.cli.targets import load_yaml, writable
from optimizer.cli.tune import given_budget, given_models
from optimizer.evaluation.labels import AGREEMENT, rows_to_label
from optimizer.formatting import counted, percent


def label(options: argparse.Namespace) -> int:
    """Write the chosen rows as JSON lines."""
    if options.output:
        writable("--output", options.output)
    rows = rows_to_label(
        load_yaml(options.pipeline, allow_code=options.allow_code, program=options.program),
        options.dataset,
        options.count,
        models=given_models(options) or (),
        labelled=options.labelled,
        budget=given_budget(options),
        seed=options.seed,
        concurrency=options.concurrency,
    )
    with output_file(options.output, options.stdout) as file:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False, default=str), file=file)
    mean = percent(sum(row[AGREEMENT] for row in rows) / len(rows))
    where = f" -> {options.output}" if options.output else ""
    print(f"{counted(len(rows), 'row')} to label, mean agreement {mean}{where}", file=sys.stderr)
    return 0
