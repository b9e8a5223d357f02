from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.statistics import Interval
from optimizer.result import Result, pareto_front
from optimizer.trial import Trial
from pipelines import Module, Pipeline, PipelineError
from tests.optimizer.made import MODELS, make_config, make_pipeline, make_result, make_trial

figures = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))


def _trials(drawn: list[tuple[int, int, int]]) -> tuple[Trial, ...]:
    return tuple(
        make_trial(i, score / 4, usd_per_example=float(usd), latency_s=float(latency),
                   config=make_config(temperature=i / 100))
        for i, (score, usd, latency) in enumerate(drawn)
    )  # fmt: skip


@given(st.lists(figures, max_size=12))
def test_pareto_front_keeps_exactly_what_nothing_beats(drawn: list[tuple[int, int, int]]) -> None:
    trials = _trials(drawn)
    kept = {trial.number for trial in pareto_front(trials)}
    for number, (score, usd, latency) in enumerate(drawn):
        beaten = any(
            s >= score and u <= usd and t <= latency and (s, u, t) != (score, usd, latency)
            for s, u, t in drawn
        )
        assert (number in kept) is not beaten


def test_pareto_front_leaves_out_trials_that_did_not_complete() -> None:
    cheap_but_stopped = make_trial(1, 1.0, status="stopped_early", usd_per_example=0.0)
    assert pareto_front((make_trial(0, 0.4), cheap_but_stopped)) == [make_trial(0, 0.4)]


def test_pareto_front_takes_the_last_trial_of_a_config() -> None:
    first, second = make_trial(0, 0.9), make_trial(1, 0.5)
    assert pareto_front((first, second)) == [second]


def test_pareto_says_that_its_scores_are_search_estimates(result: Result) -> None:
    frame = result.pareto
    assert set(frame["measured_on"]) == {"search"}
    assert list(frame["number"]) == [4, 0]


def test_pareto_of_a_run_in_which_nothing_completed_is_empty() -> None:
    assert len(make_result(trials_=(make_trial(0, None, status="disqualified"),)).pareto) == 0


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
