from __future__ import annotations

import json
import posixpath
import re
from dataclasses import asdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from optimizer.tracking.events import Event, as_key, event, trial_event
from optimizer.tracking.tracker import module_scores_event
from tests.optimizer.made import make_config, make_module_scores, make_trial

ALLOWED = re.compile(r"[\w.\- :/]{1,250}")
PATHS = st.lists(st.sampled_from(["a", ".", "..", "/", "..a", "x" * 90]), min_size=1).map("".join)


@given(st.text(min_size=1, max_size=400) | PATHS)
@example("module_score/solve/ollama/./x")
@example("..odd")
def test_any_name_becomes_a_key_that_mlflow_takes(name: str) -> None:
    key = as_key(name)
    assert ALLOWED.fullmatch(key)
    assert posixpath.normpath(key) == key
    assert not key.startswith(("..", "/"))
    assert key != "."


def test_mlflow_takes_the_names_of_module_scores_as_they_are() -> None:
    key = "module_score/solve/vertex_ai/claude-3-5 v2:0"
    assert as_key(key) == key


def test_long_names_that_begin_alike_stay_apart() -> None:
    one, other = (as_key("module_score/solve/" + "x" * 300 + end) for end in "ab")
    assert one != other


def test_values_are_cut_to_mlflows_limits_and_none_is_left_out() -> None:
    long = {"text": "x" * 9000}
    cut = event("figures", params=long, tags=long)
    assert (len(cut.params["text"]), len(cut.tags["text"])) == (6000, 5000)
    metrics = {"a": None, "b": float("nan"), "c": float("inf"), "d": 1}
    partly = event("figures", params={"budget_usd": None, "seed": 0}, metrics=metrics)
    assert (partly.params, partly.metrics) == ({"seed": "0"}, {"d": 1.0})


def test_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    trial = make_trial(
        1,
        detail="refused sk-planted-0123456789",
        config=make_config(instructions="say sk-planted-0123456789", solve="sk-planted-0123456789"),
    )
    assert "sk-planted" not in json.dumps(asdict(trial_event(trial, 1.0)))


def test_a_trial_becomes_params_metrics_and_tags() -> None:
    trial = make_trial(
        3, 0.5, failures={"refusal": 2, "timeout": 1}, unscored=1, changed="solve.model: a -> b",
        usd_by_module={"locate": 0.0002, "solve": 0.001},
        seconds_by_module={"locate": 0.5, "solve": 1.0},
    )  # fmt: skip
    event = trial_event(trial, took_s=4.0)
    assert event.params == {"locate.model": "openai/small", "solve.model": "openai/small"}
    assert event.tags == {
        "trial": "3", "stage": "allocation", "turn": "1", "base": "0",
        "changed": "solve.model: a -> b", "status": "complete", "config_key": trial.config.key,
    }  # fmt: skip
    assert event.metrics == {
        "score": 0.5, "score_low": 0.4, "score_high": 0.6, "examples": 40, "failures": 3,
        "unscored": 1, "cost_usd": 0.0012, "calls": 2.0, "latency_s": 1.5, "latency_p95_s": 2.5,
        "failures/refusal": 2, "failures/timeout": 1,
        "cost_usd/locate": 0.0002, "cost_usd/solve": 0.001,
        "latency_s/locate": 0.5, "latency_s/solve": 1.0,
    }  # fmt: skip


def test_module_scores_become_metrics_at_their_turn() -> None:
    event = module_scores_event(make_module_scores()[:4], "openai/large")
    assert event.step == 1
    assert event.tags == {"diagnoser/model": "openai/large"}
    assert event.metrics == {
        "module_score/locate/openai/small": 0.9, "module_score/locate/openai/large": 0.88,
        "module_score/solve/openai/small": 0.3, "module_score/solve/openai/large": 0.8,
        "module_measured/locate/openai/small": 0.42, "module_measured/solve/openai/small": 0.42,
        "module_measured/solve/openai/large": 0.9,
    }  # fmt: skip


def test_a_trial_without_a_score_has_none() -> None:
    event = trial_event(make_trial(3, None, status="disqualified"), took_s=4.0)
    assert "score" not in event.metrics
    assert event.status == "FAILED"


def test_events_survive_json() -> None:
    event = trial_event(make_trial(3), took_s=4.0)
    assert Event(**json.loads(json.dumps(asdict(event)))) == event
