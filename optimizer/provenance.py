"""Where a tuned pipeline comes from, as plain data beside its spec."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import TYPE_CHECKING, Any

from evaluators.statistics import Interval
from pipelines.llms.secrets import redacted

if TYPE_CHECKING:
    from optimizer.result import Result

DISTRIBUTION = "compound-optimizer"


def library_version() -> str:
    """The installed version; `unknown` when it runs from a folder that was never installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def provenance(result: Result) -> dict[str, Any]:
    """What a reader of the tuned pipeline's YAML should know about its score."""
    told: dict[str, Any] = {
        "tuned_by": f"{DISTRIBUTION} {library_version()}",
        "date": result.finished.date().isoformat(),
        "metric": result.metric,
        "measured_on": "held-out examples" if result.held_out else "search examples (optimistic)",
        "examples": result.tuned_figures.examples,
        "score": _interval(result.score),
        "baseline": _interval(result.baseline),
        "gain": _interval(result.gain),
        "usd_per_example": result.tuned_figures.usd_per_example,
        "dataset": f"sha256:{result.dataset_digest}" if result.dataset_digest else None,
        "seed": result.seed,
        "spent": {"usd": result.spent.usd, "calls": result.spent.calls},
        "mlflow_run": result.run_id,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def tuned_yaml(result: Result) -> str:
    """The tuned pipeline's YAML form, with its provenance and without secrets.

    Raises:
        PipelineError: a function module can't be imported by name.
    """
    tuned = dataclasses.replace(result.pipeline, provenance=provenance(result))
    return redacted(tuned.to_yaml())


def _interval(interval: Interval) -> dict[str, float]:
    return {
        "mean": round(interval.mean, 6),
        "low": round(interval.low, 6),
        "high": round(interval.high, 6),
    }
