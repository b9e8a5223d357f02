"""The provenance of a tuned pipeline, as plain data beside its spec."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evaluators.statistics import Interval
from optimizer.results.held_out_scores import KEPT_AS
from optimizer.version import DISTRIBUTION, library_version
from pipelines import PipelineError, Tunable
from pipelines.gateway.secrets import redacted

if TYPE_CHECKING:
    from evaluators.metrics.human_labels import JudgeAgreement
    from evaluators.outcome import Evaluation
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import Result

OPTIMISTIC = "search examples (optimistic)"


def provenance(result: Result) -> dict[str, Any]:
    """The facts about its score that the tuned pipeline's YAML carries."""
    facts: dict[str, Any] = {
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
        "searched": dict(result.searched),
        "judge": _judge(result.judge) if result.judge else None,
        "seed": result.seed,
        "spent": {"usd": result.spent.usd, "calls": result.spent.calls},
        "mlflow_run": result.run_id,
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def tuned_yaml(result: Result, point: OperatingPoint | None = None) -> str:
    """The YAML form of the tuned pipeline, or of a point of the front, with its provenance and
    without secrets.
    """
    if point is None or point.config == result.config:
        scores, tuned = result.held_out_scores, result.pipeline
        facts = provenance(result)
    else:
        own = {
            "measured_on": _measured_on(point.measured_on == "holdout"),
            "score": _interval(point.score),
            "usd_per_example": point.usd_per_example,
        }
        facts = {**provenance(result), **own}
        for of_the_tuned in ("examples", "baseline", "gain"):
            del facts[of_the_tuned]
        scores, tuned = point.held_out_scores, point.pipeline
    if scores is not None:
        facts[KEPT_AS] = str(scores)
    return redacted(tuned.with_provenance(facts).to_yaml())


def estimated_yaml(pipeline: Tunable, evaluation: Evaluation, metric: str) -> str:
    """The YAML form of the best config of an unfinished search, marked as an estimate.

    The config alone, where a function module can't be imported by name.
    """
    facts = {
        "tuned_by": f"{DISTRIBUTION} {library_version()}",
        "unfinished": "the best so far of an unfinished search",
        "metric": metric,
        "measured_on": OPTIMISTIC,
        "examples": len(evaluation.scores),
        "score": _interval(evaluation.interval) if evaluation.interval else None,
        "usd_per_example": evaluation.usd_per_example,
    }
    try:
        text = pipeline.with_provenance(facts).to_yaml()
    except PipelineError:
        config = pipeline.config.model_dump() if pipeline.config else None
        text = plain_yaml({"config": config, "provenance": facts})
    return redacted(text)


def plain_yaml(value: Any) -> str:
    """Any value as YAML; values without a YAML form become text."""
    import yaml

    text: str = yaml.safe_dump(json.loads(json.dumps(value, default=str)), sort_keys=False)
    return text


def _judge(judge: JudgeAgreement) -> dict[str, Any]:
    """The judge's model and, if the score is corrected, the labels and the line."""
    if judge.calibration is None:
        return {"model": judge.model}
    line = judge.calibration.fitted
    corrected_by = {"offset": round(line.offset, 6), "slope": round(line.slope, 6)}
    return {"model": judge.model, "human_labels": judge.labels, **corrected_by}


def _measured_on(held_out: bool) -> str:
    return "held-out examples" if held_out else OPTIMISTIC


def _interval(interval: Interval) -> dict[str, float]:
    return {name: round(value, 6) for name, value in asdict(interval).items()}
