"""Events of a run as plain data, which can be kept on disk while the store is away."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optimizer.search.records.trial import Trial, flat_config, shortened
from pipelines.gateway.secrets import redacted

Kind = Literal["start", "trial", "prompt", "figures", "artifacts", "model", "end"]
Outcome = Literal["FINISHED", "FAILED", "KILLED"]
"""MLflow's states of a run that has ended."""

MOST_PARAM = 6000
MOST_TAG = 5000
MOST_KEY = 250
_NOT_IN_KEYS = re.compile(r"[^\w.\- :/]")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One entry to log; fields that a kind does not use are empty."""

    kind: Kind
    time_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    """When it happened, in milliseconds since 1970."""
    id: str = ""
    """Unique; a second attempt finds by it what the first one wrote."""
    name: str = ""
    experiment: str = ""
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    step: int = 0
    """Of the metrics: nominal calls, or the turn."""
    took_s: float = 0.0
    """Seconds from its beginning to `time_ms`."""
    status: Outcome | Literal[""] = ""
    """Of a run that ended."""
    text: str = ""
    """Of a prompt; or traces of a model as JSON."""
    folder: str = ""
    """Of artifacts or of a saved model, below the journal's."""


def event(
    kind: Kind,
    *,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float | None] | None = None,
    tags: Mapping[str, Any] | None = None,
    **others: Any,
) -> Event:
    """An event with params, metrics and tags as MLflow takes them: keys of allowed characters,
    texts without secrets and cut to its limits. None is left out, and so are NaN and infinity."""
    return Event(
        kind=kind,
        params=_texts(params or {}, MOST_PARAM),
        metrics={
            as_key(name): float(value)
            for name, value in (metrics or {}).items()
            if value is not None and math.isfinite(value)
        },
        tags=_texts(tags or {}, MOST_TAG),
        **others,
    )


def trial_event(trial: Trial, took_s: float) -> Event:
    """A trial ended after `took_s` seconds: a child run."""
    return event(
        "trial",
        name=redacted(trial.name),
        params=flat_config(trial.config),
        metrics={
            **(trial.score.named("score") if trial.score else {}),
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
        },
        tags={
            "trial": trial.number,
            "stage": trial.stage,
            "turn": trial.turn,
            "base": trial.base,
            "changed": trial.changed or None,
            "status": trial.status,
            "config_key": trial.config.key,
            "detail": trial.detail or None,
        },
        step=trial.nominal_calls,
        took_s=took_s,
        status="FAILED" if trial.status in ("disqualified", "failed") else "FINISHED",
    )


def end_event(status: Outcome, reason: str | None) -> Event:
    """The run ended; the reason, if it was stopped."""
    return event("end", status=status, tags={"stopped": reason})


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


def _texts(values: Mapping[str, Any], most: int) -> dict[str, str]:
    return {
        as_key(name): shortened(redacted(str(value)), most)
        for name, value in values.items()
        if value is not None
    }
