from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest

from evaluators.statistics import Interval
from optimizer.results.operating_points import OperatingPoint
from optimizer.results.result import Result
from pipelines import Module, Pipeline, PipelineError
from tests.optimizer.made import MODELS, make_config, make_pipeline, make_result


def point(
    estimate: float, usd: float, latency: float, held_out: float | None = None, tail: float = 5.0
) -> OperatingPoint:
    measured: Literal["holdout", "search"] = "search" if held_out is None else "holdout"
    mean = estimate if held_out is None else held_out
    pipeline = dataclasses.replace(make_pipeline(), config=make_config(temperature=usd))
    return OperatingPoint(
        pipeline, Interval(mean, mean - 0.1, mean + 0.1), usd, latency, tail, measured, estimate
    )


POINTS = (point(0.9, 1.0, 3.0, 0.85), point(0.89, 0.5, 4.0, tail=4.5), point(0.7, 0.1, 1.0, 0.72))


def test_the_front_says_where_its_figures_are_from() -> None:
    frame = make_result(points=POINTS).pareto
    assert list(frame["measured_on"]) == ["holdout", "search", "holdout"]
    assert list(frame["score"]) == [0.85, 0.89, 0.72]
    assert list(frame["estimate"]) == [0.9, 0.89, 0.7]
    assert "solve.temperature" in frame


@pytest.mark.parametrize(
    ("limits", "usd"),
    [
        ({}, 1.0),
        ({"within": 0.02}, 0.5),
        ({"within": 0.3}, 0.1),
        ({"max_cost_usd": 0.5}, 0.5),
        ({"max_latency_s": 3.5}, 1.0),
        ({"max_latency_s": 3.5, "max_cost_usd": 0.9}, 0.1),
        ({"max_latency_p95_s": 4.5}, 0.5),
    ],
)
def test_one_operating_point_is_picked(limits: dict[str, Any], usd: float) -> None:
    picked = make_result(points=POINTS).pick(**limits)
    assert picked.usd_per_example == usd
    assert picked.config == make_config(temperature=usd)


def test_limits_that_nothing_meets_are_answered_with_the_closest() -> None:
    message = r"no point meets the limits \(quality, latency at most 0.5 s\)"
    with pytest.raises(ValueError, match=message) as raised:
        make_result(points=POINTS).pick(max_latency_s=0.5)
    assert "the closest is locate=" in str(raised.value)
    assert "$0.100 and 1.00 s per example" in str(raised.value)


@pytest.mark.parametrize("limits", [{"max_cost_usd": 0}, {"within": 1}, {"max_latency_s": -1}])
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        make_result(points=POINTS).pick(**limits)


def test_a_run_in_which_nothing_completed_has_no_front() -> None:
    empty = make_result(points=())
    assert len(empty.pareto) == 0
    with pytest.raises(ValueError, match="nothing to pick from"):
        empty.pick()


def test_a_gain_is_claimed_only_when_held_out_and_its_interval_excludes_zero() -> None:
    assert make_result().improved
    assert not make_result(gain=Interval(0.1, 0.0, 0.2)).improved
    assert not make_result(held_out=False).improved


def test_saved_pipeline_loads_as_it_was_and_says_where_it_comes_from(
    result: Result, tmp_path: Path
) -> None:
    result.save(tmp_path / "tuned.yaml")
    loaded = Pipeline.load(tmp_path / "tuned.yaml")
    assert loaded.config == result.config
    assert loaded.models == result.pipeline.models
    assert loaded.modules == result.pipeline.modules
    assert loaded.provenance["score"] == {"mean": 0.883, "low": 0.78, "high": 0.942}
    assert loaded.provenance["measured_on"] == "held-out examples"
    assert loaded.provenance["dataset"] == "sha256:" + "ab" * 32
    assert loaded.provenance["spent"] == {"usd": 0.25, "calls": 400}


def test_a_picked_point_is_saved_with_its_own_figures(tmp_path: Path) -> None:
    result = make_result(points=POINTS)
    result.save(tmp_path / "cheap.yaml", result.pick(within=0.02))
    saved = Pipeline.load(tmp_path / "cheap.yaml")
    assert saved.config == make_config(temperature=0.5)
    assert saved.provenance["score"]["mean"] == 0.89
    assert saved.provenance["measured_on"] == "search examples (optimistic)"
    assert saved.provenance["usd_per_example"] == 0.5
    assert "gain" not in saved.provenance
    assert saved.provenance["dataset"] == "sha256:" + "ab" * 32


def test_what_is_no_point_can_not_be_saved(result: Result, tmp_path: Path) -> None:
    message = r"point must be one that result.pick\(...\) returned, but got 'pt'"
    with pytest.raises(ValueError, match=message):
        result.save(tmp_path / "x.yaml", "pt")  # type: ignore[arg-type]


def test_saved_search_estimates_are_labelled(tmp_path: Path) -> None:
    make_result(held_out=False).save(tmp_path / "tuned.yaml")
    assert "search examples (optimistic)" in (tmp_path / "tuned.yaml").read_text()


def test_no_secret_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    leaky = (
        make_pipeline()
        .modules[0]
        .__class__("locate", "table, question -> task", instructions="Use sk-planted-0123456789.")
    )
    pipeline = Pipeline("leaky", [leaky, make_pipeline().modules[1]], config=make_config())
    make_result(pipeline=pipeline).save(tmp_path / "tuned.yaml")
    assert "sk-planted" not in (tmp_path / "tuned.yaml").read_text()


def test_a_function_without_a_name_to_import_can_not_be_saved(tmp_path: Path) -> None:
    modules = [
        *make_pipeline().modules,
        Module("trim", "answer -> final", function=lambda answer: 1),
    ]
    result = make_result(pipeline=Pipeline("with-lambda", modules))
    with pytest.raises(PipelineError, match="lambda"):
        result.save(tmp_path / "tuned.yaml")
    assert not (tmp_path / "tuned.yaml").exists()


def test_trials_are_a_frame_of_search_estimates(result: Result) -> None:
    assert list(result.trials["status"])[2:4] == ["stopped_early", "disqualified"]
    assert result.trials["locate.model"][1] == MODELS[1]
