"""Searches that start from the result of an earlier one."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimizer.results.result import Result
from optimizer.setup.start import Start
from pipelines import Module, Pipeline
from pipelines.gateway.model import Model
from tests.optimizer.runs import MODELS, ROWS, tune

ALDER, BIRCH, ROWAN = MODELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("start")


@pytest.fixture(scope="module")
def earlier(folder: Path) -> Result:
    found = tune(models=[ROWAN, ALDER], cache=folder / "cache")
    found.save(folder / "tuned.yaml")
    return found


def test_a_new_model_is_found_and_old_allocations_are_not_run_again(
    earlier: Result, folder: Path
) -> None:
    models = [ROWAN, ALDER, BIRCH]
    result = tune(models=models, cache=folder / "cache", start=folder / "tuned.yaml")
    assert result.baseline_config == earlier.config
    assert {name: own.models for name, own in result.config.modules.items()} == {
        "locate": (ALDER,),
        "solve": (BIRCH,),
    }
    tried = [trial for trial in result.trials_ if trial.stage == "allocation"]
    assert tried
    assert all(BIRCH in trial.config.labels for trial in tried if trial.config != earlier.config)
    anew = tune(models=models)
    assert result.config == anew.config
    assert result.spent.paid_now_calls < anew.spent.calls


def test_without_a_new_model_nothing_is_paid(earlier: Result, folder: Path) -> None:
    same = tune(
        models=[ROWAN, ALDER], cache=folder / "cache", start=folder / "tuned.yaml", diagnoser=None
    )
    assert same.config == earlier.config
    assert same.spent.paid_now_calls == 0


def test_a_start_that_does_not_fit_is_refused_before_any_call(
    earlier: Result, folder: Path
) -> None:
    tuned = folder / "tuned.yaml"
    with pytest.raises(ValueError, match=r"start must be the path of a file .* but got 3"):
        tune(start=3)
    with pytest.raises(ValueError, match="was tuned on other examples than these"):
        tune(ROWS[1:], start=tuned)
    other = Pipeline("other", [Module("answer", "table, question -> answer")])
    with pytest.raises(ValueError, match=r"start must be of this pipeline, .* \['answer'\]"):
        tune(pipeline=other, start=tuned)
    with pytest.raises(ValueError, match="was tuned by the metric 'exact_match', but got 'f1'"):
        tune(start=tuned, metric="f1")
    plain = folder / "plain.yaml"
    plain.write_text(Pipeline("plain", [Module("answer", "question -> answer")]).to_yaml())
    with pytest.raises(ValueError, match="does not say what was searched"):
        tune(start=plain)


def test_a_model_that_changed_is_new(earlier: Result, folder: Path) -> None:
    start = Start.load(folder / "tuned.yaml")
    assert start.searched_among({ALDER: Model(ALDER), BIRCH: Model(BIRCH)}) == {ALDER}
    assert not start.searched_among({ALDER: Model(ALDER, max_tokens=7)})
