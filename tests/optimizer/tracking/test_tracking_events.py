from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.tracking.events import Event, as_key, as_metrics, as_params, as_tags, trial_event
from tests.optimizer.made import make_config, make_trial

ALLOWED = re.compile(r"[\w.\- :/]{1,250}")


@given(st.text(min_size=1, max_size=400))
def test_any_name_becomes_a_key_that_mlflow_takes(name: str) -> None:
    assert ALLOWED.fullmatch(as_key(name))


def test_values_are_cut_to_mlflows_limits_and_none_is_left_out() -> None:
    assert len(as_params({"solve.instructions": "x" * 9000})["solve.instructions"]) == 6000
    assert len(as_tags({"detail": "x" * 9000})["detail"]) == 5000
    assert as_params({"budget_usd": None, "seed": 0}) == {"seed": "0"}
    assert as_metrics({"a": None, "b": float("nan"), "c": float("inf"), "d": 1}) == {"d": 1.0}


def test_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    trial = make_trial(
        1,
        detail="refused sk-planted-0123456789",
        config=make_config(instructions="say sk-planted-0123456789", solve="sk-planted-0123456789"),
    )
    assert "sk-planted" not in json.dumps(asdict(trial_event(trial, 1.0)))


def test_a_trial_becomes_params_metrics_and_tags() -> None:
    trial = make_trial(3, 0.5, failures={"refusal": 2, "timeout": 1}, unscored=1)
    event = trial_event(trial, took_s=4.0)
    assert event.params == {"locate.model": "openai/small", "solve.model": "openai/small"}
    assert event.tags == {
        "trial": "3", "stage": "allocation", "status": "complete", "config_key": trial.config.key,
    }  # fmt: skip
    assert event.metrics == {
        "score": 0.5, "score_low": 0.4, "score_high": 0.6, "examples": 40, "failures": 3,
        "unscored": 1, "cost_usd": 0.0012, "calls": 2.0, "latency_s": 1.5, "latency_p95_s": 2.5,
        "failures/refusal": 2, "failures/timeout": 1,
    }  # fmt: skip


def test_a_trial_without_a_score_has_none() -> None:
    event = trial_event(make_trial(3, None, status="disqualified"), took_s=4.0)
    assert "score" not in event.metrics
    assert event.status == "FAILED"


def test_events_survive_json() -> None:
    event = trial_event(make_trial(3), took_s=4.0)
    assert Event(**json.loads(json.dumps(asdict(event)))) == event
