"""Where a tuned pipeline comes from, as plain data beside its spec."""

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING, Any

from evaluators.statistics import Interval
from pipelines import PipelineError, Tunable
from pipelines.llms.secrets import redacted

if TYPE_CHECKING:
    from evaluators.metrics.judge_agreement import JudgeAgreement
    from evaluators.outcome import Evaluation
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import Result

DISTRIBUTION = "compound-optimizer"
OPTIMISTIC = "search examples (optimistic)"


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
        "measured_on": _measured_on(result.held_out),
        "examples": result.tuned_figures.examples,
        "score": _interval(result.score),
        "baseline": _interval(result.baseline),
        "gain": _interval(result.gain),
        "usd_per_example": result.tuned_figures.usd_per_example,
        "dataset": f"sha256:{result.dataset_digest}" if result.dataset_digest else None,
        "judge": _judge(result.judge) if result.judge else None,
        "seed": result.seed,
        "spent": {"usd": result.spent.usd, "calls": result.spent.calls},
        "mlflow_run": result.run_id,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def tuned_yaml(result: Result, point: OperatingPoint | None = None) -> str:
    """The YAML form of the tuned pipeline, or of a point of the front, with where it comes from.

    It is without secrets.

    Raises:
        PipelineError: a function module can't be imported by name.
    """
    if point is None or point.config == result.config:
        tuned = result.pipeline.with_provenance(provenance(result))
    else:
        tuned = point.pipeline.with_provenance(_point_provenance(result, point))
    return redacted(tuned.to_yaml())


def estimated_yaml(pipeline: Tunable, evaluation: Evaluation, metric: str) -> str:
    """The YAML form of the best config of a search that did not end, marked as an estimate.

    The config alone, where a function module can't be imported by name.
    """
    told = {
        "tuned_by": f"{DISTRIBUTION} {library_version()}",
        "unfinished": "the best so far of a search that did not end",
        "metric": metric,
        "measured_on": OPTIMISTIC,
        "examples": len(evaluation.scores),
        "score": _interval(evaluation.interval) if evaluation.interval else None,
        "usd_per_example": evaluation.usd_per_example,
    }
    try:
        text = pipeline.with_provenance(told).to_yaml()
    except PipelineError:
        config = pipeline.config.model_dump() if pipeline.config else None
        text = plain_yaml({"config": config, "provenance": told})
    return redacted(text)


def plain_yaml(value: Any) -> str:
    """Any value as YAML; texts take the place of what YAML does not know."""
    import yaml

    text: str = yaml.safe_dump(json.loads(json.dumps(value, default=str)), sort_keys=False)
    return text


def _point_provenance(result: Result, point: OperatingPoint) -> dict[str, Any]:
    """As the tuned pipeline's, with the point's own figures; a gain was not measured for it."""
    own = {
        "measured_on": _measured_on(point.measured_on == "holdout"),
        "score": _interval(point.score),
        "usd_per_example": point.usd_per_example,
    }
    of_the_tuned = ("examples", "baseline", "gain")
    told = {**provenance(result), **own}
    return {name: value for name, value in told.items() if name not in of_the_tuned}


def _judge(judge: JudgeAgreement) -> dict[str, Any]:
    """Who judged; and if the score is corrected, by how many labels and which line."""
    if judge.calibration is None:
        return {"model": judge.model}
    line = judge.calibration.fitted
    corrected_by = {"offset": round(line.offset, 6), "slope": round(line.slope, 6)}
    return {"model": judge.model, "human_labels": judge.labels, **corrected_by}


def _measured_on(held_out: bool) -> str:
    return "held-out examples" if held_out else OPTIMISTIC


def _interval(interval: Interval) -> dict[str, float]:
    return {
        "mean": round(interval.mean, 6),
        "low": round(interval.low, 6),
        "high": round(interval.high, 6),
    }
