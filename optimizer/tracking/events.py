"""What is told to MLflow, as plain data: it waits in a queue, and on disk while a store is away.

Texts are freed of secrets and cut to MLflow's limits here, once.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from optimizer.search.records.module_score import ModuleScore
from optimizer.search.records.trial import Trial, flat_config, shortened
from pipelines.llms.secrets import redacted

Outcome = Literal["FINISHED", "FAILED", "KILLED"]
"""How MLflow calls the end of a run."""

MOST_PARAM = 6000
MOST_TAG = 5000
MOST_KEY = 250
_NOT_IN_KEYS = re.compile(r"[^\w.\- :/]")
_NOT_IN_PROMPTS = re.compile(r"[^A-Za-z0-9_.\-]+")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing to write; what a kind does not need is left empty."""

    kind: Literal["start", "trial", "prompt", "figures", "artifacts", "model", "end"]
    time_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    """When it happened, in milliseconds since 1970."""
    id: str = ""
    """Unique; lets a second attempt find what the first one left."""
    name: str = ""
    experiment: str = ""
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    step: int = 0
    """Of the metrics: nominal calls, or the turn."""
    took_s: float = 0.0
    """Seconds before `time_ms` at which it began."""
    status: str = ""
    """Of a run that ended: `FINISHED`, `FAILED` or `KILLED`."""
    text: str = ""
    """Of a prompt."""
    folder: str = ""
    """Of artifacts or of a saved model, below the journal's."""


def start_event(
    pipeline_name: str, experiment: str, params: Mapping[str, Any], tags: Mapping[str, Any]
) -> Event:
    """A run begins."""
    return Event(
        kind="start",
        name=f"{pipeline_name} {time.strftime('%Y-%m-%d %H:%M:%S')}",
        experiment=experiment,
        params=as_params(params),
        tags=as_tags(tags),
    )


def trial_event(trial: Trial, took_s: float) -> Event:
    """A trial ended, after so many seconds: a child run."""
    return Event(
        kind="trial",
        name=redacted(trial.name),
        params=as_params(flat_config(trial.config)),
        metrics=as_metrics(_trial_metrics(trial)),
        tags=as_tags(
            {
                "trial": trial.number,
                "stage": trial.stage,
                "turn": trial.turn,
                "base": trial.base,
                "changed": trial.changed or None,
                "status": trial.status,
                "config_key": trial.config.key,
                "detail": trial.detail or None,
            }
        ),
        step=trial.nominal_calls,
        took_s=took_s,
        status="FAILED" if trial.status in ("disqualified", "failed") else "FINISHED",
    )


def prompt_event(pipeline: str, module: str, text: str, tags: Mapping[str, Any]) -> Event:
    """A module's prompt was accepted: a version in the prompt registry, as `pipeline.module`."""
    name = _NOT_IN_PROMPTS.sub("_", f"{pipeline}.{module}")[:MOST_KEY]
    return Event(kind="prompt", name=name, text=redacted(text), tags=as_tags(tags))


def best_event(step: int, score: float) -> Event:
    """The best score so far, at so many nominal calls."""
    return Event(kind="figures", metrics=as_metrics({"best_score": score}), step=step)


def module_scores_event(scores: Sequence[ModuleScore], diagnoser: str | None) -> Event:
    """What one turn found out of the models in each module.

    Args:
        scores: at least one.
        diagnoser: label of the model that rated; None if none did.
    """
    rated = {f"module_score/{score.module}/{score.model}": score.rating for score in scores}
    measured = {f"module_measured/{score.module}/{score.model}": score.measured for score in scores}
    return Event(
        kind="figures",
        metrics=as_metrics({**rated, **measured}),
        tags=as_tags({"diagnoser/model": diagnoser}),
        step=scores[0].turn,
    )


def figures_event(
    metrics: Mapping[str, float | None], params: Mapping[str, Any], tags: Mapping[str, Any]
) -> Event:
    """Figures of the parent run."""
    return Event(
        kind="figures", metrics=as_metrics(metrics), params=as_params(params), tags=as_tags(tags)
    )


def end_event(status: Outcome, reason: str | None) -> Event:
    """The run ended, and why, if it did not end by itself."""
    return Event(kind="end", status=status, tags=as_tags({"stopped": reason}))


def as_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Params as MLflow takes them; values of None are left out."""
    return {
        as_key(name): shortened(redacted(str(value)), MOST_PARAM)
        for name, value in values.items()
        if value is not None
    }


def as_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them; values of None are left out."""
    return {
        as_key(name): shortened(redacted(str(value)), MOST_TAG)
        for name, value in values.items()
        if value is not None
    }


def as_metrics(values: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics as MLflow takes them; None and NaN are left out."""
    return {
        as_key(name): float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


def as_key(name: str) -> str:
    """A key of letters, digits and `_-.: /`, at most 250 characters.

    MLflow also refuses what reads as a path of another form, such as `a//b` or `../a`. Long names
    that begin alike stay apart.
    """
    parts = _NOT_IN_KEYS.sub("_", name).split("/")
    key = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    if key.startswith(".."):
        key = f"_{key[1:]}"
    if len(key) > MOST_KEY:
        key = f"{key[: MOST_KEY - 9]}_{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    return key


def _trial_metrics(trial: Trial) -> dict[str, float | None]:
    interval = trial.score
    return {
        "score": interval.mean if interval else None,
        "score_low": interval.low if interval else None,
        "score_high": interval.high if interval else None,
        "examples": trial.examples,
        "failures": sum(trial.failures.values()),
        "unscored": trial.unscored,
        "cost_usd": trial.usd_per_example,
        "calls": trial.calls_per_example,
        "latency_s": trial.latency_s,
        "latency_p95_s": trial.latency_p95_s,
        **{f"failures/{kind}": count for kind, count in trial.failures.items()},
        **{f"cost_usd/{module}": usd for module, usd in trial.usd_by_module.items()},
        **{f"latency_s/{module}": s for module, s in trial.seconds_by_module.items()},
    }
