"""Input that is odd but not refused: the search ends with a result that is as good as given."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.loopback import LoopbackServer, Price
from benchmarks.worlds import simulated_dataset
from evaluators.diagnosis.diagnoser import Diagnoser, Diagnosis
from optimizer.results.result import Result
from pipelines.gateway.model import Model
from tests.optimizer.runs import MODELS, NAMES, served_model, simulated_reply, tune


def unchanged(result: Result) -> bool:
    return result.config == result.baseline_config and not result.improved


@pytest.mark.parametrize("holdout", [0.0, 0.3])
def test_five_examples_are_enough_to_search(holdout: float) -> None:
    result = tune(simulated_dataset("locate_solve", 5, rows=3), holdout=holdout)
    examples = 5 if holdout == 0 else 2
    assert result.tuned_figures.examples == result.baseline_figures.examples == examples
    assert result.held_out == (holdout > 0)


def test_one_model_leaves_nothing_to_allocate() -> None:
    result = tune(models=MODELS[:1])
    assert unchanged(result)
    assert len(result.trials_) == 1


def test_models_that_are_all_alike_leave_the_pipeline_as_given() -> None:
    """Three names for one model, which gives each of them the same answers."""

    def reply(messages: Any, params: Any) -> str:
        return simulated_reply(messages, {**params, "model": NAMES[0]})

    prices = dict.fromkeys(NAMES, Price(1, 1))
    with LoopbackServer(reply=reply, prices=prices) as server:
        models = [
            Model(f"openai/{n}", n, server.url, input_usd_per_million=1, output_usd_per_million=1)
            for n in NAMES
        ]
        result = tune(models=models)
    assert unchanged(result)


def test_a_module_whose_models_all_return_the_same_keeps_its_model() -> None:
    """Whoever locates gives the answer of the first; solvers differ."""

    def reply(messages: Any, params: Any) -> str:
        asks_to_locate = "[[ ## task ## ]]" in messages[0]["content"].split("output fields")[-1]
        model = NAMES[0] if asks_to_locate else params["model"]
        return simulated_reply(messages, {**params, "model": model})

    with LoopbackServer(reply=reply, prices=dict.fromkeys(NAMES, Price(1, 1))) as server:
        result = tune(models=[served_model(server.url, name) for name in NAMES])
    assert result.config.allocation["locate"] == (NAMES[0],) or not result.improved
    ratings = result.module_scores.query("module == 'locate'")["rating"]
    assert set(ratings) == {1.0}, "a single output needs no judge"


@pytest.mark.parametrize("ratings", [None, (1.0,) * 9])
def test_a_diagnoser_that_says_nothing_or_nonsense_does_no_harm(
    ratings: tuple[float, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diagnose(self: Diagnoser, module: str, inputs: Any, outputs: Any, *_: Any) -> Any:
        return ratings and Diagnosis(ratings[: len(outputs)], "All are perfect.")

    monkeypatch.setattr(Diagnoser, "diagnose", diagnose)
    result, without = tune(), tune(diagnoser=None)
    assert result.config == without.config
    assert result.score.mean >= result.baseline.mean
