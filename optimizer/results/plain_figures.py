"""The figures of a result as plain data, for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from optimizer.results.result import HeldOut, Result
from optimizer.results.summary import changes
from optimizer.search.records.trial import flat_config


def result_figures(result: Result) -> dict[str, Any]:
    """The figures of `print(result)`, as plain data."""
    single = result.single_model_figures
    return {
        "pipeline": result.pipeline.name,
        "improved": result.improved,
        "measured_on": "holdout" if result.held_out else "search",
        "tuned": _held_out(result.tuned_figures),
        "baseline": _held_out(result.baseline_figures),
        "single_model": single and {"model": result.single_model_label, **_held_out(single)},
        "gain": asdict(result.gain),
        "gained": len(result.gained),
        "lost": len(result.lost),
        "config": flat_config(result.config),
        "changed": [change._asdict() for change in changes(result)],
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
