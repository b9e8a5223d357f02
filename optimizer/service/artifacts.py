"""Figures and files of a finished search."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from optimizer.results.plain_figures import result_figures
from optimizer.results.provenance import plain_yaml, tuned_yaml
from optimizer.results.result import Result
from optimizer.search.records.module_score import module_score_rows
from optimizer.tracking.outputs import examples_table, plain_trial
from pipelines import PipelineError
from pipelines.gateway.secrets import plain_json, redactor


def result_files(result: Result) -> dict[str, Any]:
    """`result`, the figures, and `artifacts`, files by name; without secrets."""

    redact = redactor()

    def lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
        return "".join(json.dumps(plain_json(row, redact)) + "\n" for row in rows).encode()

    try:
        config = tuned_yaml(result)
    except PipelineError:  # a function can't be imported by name
        config = redact(plain_yaml({"config": result.config.model_dump()}))
    with tempfile.TemporaryDirectory() as folder:
        result.report(page := Path(folder, "report.html"))
        report = page.read_bytes()
    examples = plain_json(examples_table(result.examples), redact)
    scores = module_score_rows(result.module_scores_, result.diagnoser_model)
    return {
        "result": plain_json(
            {**result_figures(result), "holdout_digest": result.holdout_digest}, redact
        ),
        "artifacts": {
            "config.yaml": config.encode(),
            "report.html": report,
            "trials.jsonl": lines(plain_trial(trial) for trial in result.trials_),
            "module_scores.jsonl": lines(scores),
            "examples.json": json.dumps(examples).encode(),
        },
    }
