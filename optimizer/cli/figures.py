"""Figures as JSON, for `--json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from optimizer.results.result import HeldOut, Result


def print_json(figures: Mapping[str, Any], file: TextIO) -> None:
    """Print figures without secrets; what has no value is null."""
    from pipelines.gateway.secrets import plain_json, redactor

    print(json.dumps(plain_json(figures, redactor()), indent=1, ensure_ascii=False), file=file)


def result_figures(result: Result) -> dict[str, Any]:
    """What `print(result)` says in words."""
    from optimizer.search.records.config_changes import config_changes
    from optimizer.search.records.trial import flat_config

    changes = config_changes(result.baseline_config, result.config)
    single = result.single_model_figures
    return {
        "pipeline": result.pipeline.name,
        "improved": result.improved,
        "measured_on": "holdout" if result.held_out else "search",
        "tuned": _held_out(result.tuned_figures),
        "baseline": _held_out(result.baseline_figures),
        "single_model": {"model": result.single_model_label, **_held_out(single)}
        if single
        else None,
        "gain": asdict(result.gain),
        "gained": len(result.gained),
        "lost": len(result.lost),
        "config": flat_config(result.config),
        "changed": [change._asdict() for change in changes],
        "trials": len(result.trials_),
        "spent": asdict(result.spent),
        "budget": asdict(result.budget),
        "budget_is_default": result.budget_is_default,
        "stopped": result.stopped,
        "run_id": result.run_id,
    }


def _held_out(figures: HeldOut) -> dict[str, Any]:
    return {
        "score": asdict(figures.score),
        "examples": figures.examples,
        "usd_per_example": figures.usd_per_example,
        "latency_s": figures.latency_s,
        "failures": dict(figures.failures),
    }
