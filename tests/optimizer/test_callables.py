"""`optimize` on plain Python: searched, tracked, saved and run as any other pipeline."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import Behaviour
from evaluators.errors import MetricError
from optimizer import OptimizationError, SearchSpace, from_callable
from optimizer.cli import main
from pipelines import Pipeline
from pipelines.adapters.callables import CallablePipeline
from pipelines.gateway.budget import Budget
from search_spaces import SearchSpaceError
from tests.optimizer.runs import MODELS, ROWS, counting_server, outcome, served_models, tune
from tests.pipelines.adapters.callables.agents import (
    Models,
    by_gateway,
    by_openai,
    locate_and_solve,
    locating,
    once,
)

MODULES = ["locate", "solve"]


def agent(factory: Any = locate_and_solve, **arguments: Any) -> CallablePipeline:
    return from_callable(factory, MODULES, **{"outputs": ["answer"], "name": "agent", **arguments})


def test_the_better_mix_is_found_and_the_diagnoser_helps() -> None:
    result = tune(pipeline=agent())
    assert result.config.allocation == {"locate": ("sim/alder",), "solve": ("sim/birch",)}
    assert result.score.mean > result.baseline.mean
    assert {text.module: text.judged > 0 for text in result.diagnoser} == dict.fromkeys(
        MODULES, True
    )
    assert result.pipeline(**{k: ROWS[0][k] for k in ("table", "question")}).answer


def test_whichever_sdk_asks_the_search_is_the_same() -> None:
    """And with it the traces, down to the last digit of what they cost."""

    def alike(ask: Any) -> dict[str, Any]:
        found = tune(ROWS[:10], pipeline=agent(locating(ask)), diagnoser=None)
        text = json.loads(outcome(found))
        return {key: text[key] for key in ("config", "figures", "gains", "spent")}

    assert alike(by_gateway) == alike(by_openai)


def test_temperatures_are_searched_and_widths_are_not() -> None:
    result = tune(
        ROWS[:10],
        MODELS[:2],
        pipeline=agent(),
        stages="structure",
        search_space=SearchSpace(temperature=(0.0,)),
    )
    tried = [trial.config.modules[name] for trial in result.trials_ for name in MODULES]
    assert {module.width for module in tried} == {1}
    assert {0.0, None} == {module.temperature for module in tried}


@pytest.mark.parametrize(
    ("space", "named"),
    [
        (SearchSpace(width=(1, 3)), "width: module 'locate' has none, since the calls are made by"),
        (SearchSpace(aggregator={"solve": ("judge",)}), "aggregator: module 'solve' has none"),
        (SearchSpace(network={"solve": ("3x sim/alder -> majority_vote",)}), "has no width"),
        (SearchSpace(instructions={"solve": ("Solve it.",)}), "instructions of module 'solve'"),
    ],
)
def test_a_search_space_of_what_it_has_not_is_refused(space: SearchSpace, named: str) -> None:
    with pytest.raises(SearchSpaceError) as raised:
        tune(pipeline=agent(), search_space=space)
    assert named in str(raised.value)


def test_a_label_metric_needs_to_know_the_outputs() -> None:
    with pytest.raises(MetricError, match=r"nothing says .* outputs=\['answer'\]\) would"):
        tune(pipeline=agent(outputs=()))
    result = tune(
        ROWS[:6],
        MODELS[:1],
        pipeline=agent(outputs=()),
        metric=lambda example, prediction: float(prediction.answer == example.answer),
    )
    assert result.tuned_figures.examples


def test_a_repeated_run_pays_nothing(tmp_path: Path) -> None:
    with counting_server() as server:
        models = served_models(server)
        few: Any = {"models": models[:2], "pipeline": agent(), "cache": tmp_path / "cache"}
        first = tune(ROWS[:10], **few)
        paid = server.requests
        again = tune(ROWS[:10], **few, concurrency=3)
        assert (server.requests, again.spent.paid_now_calls) == (paid, 0)
        assert paid == first.spent.paid_now_calls == first.spent.calls
    assert again.config == first.config


def test_a_budget_that_ends_in_the_middle_is_kept() -> None:
    with counting_server() as server:
        models = served_models(server)
        pipeline = agent(locating(by_openai))
        result = tune(models=models, pipeline=pipeline, budget=Budget(calls=100))
        assert server.requests <= 100
    assert str(result.stopped).startswith("the budget ended the search: ")
    assert result.held_out


def test_outages_leave_examples_unscored() -> None:
    with (
        counting_server(Behaviour(status=500)) as server,
        pytest.raises(OptimizationError, match=r"could not be scored; .* \(server_error x4\)"),
    ):
        tune(models=served_models(server), pipeline=agent(locating(by_openai)))


def test_code_that_always_raises_is_reported() -> None:
    pipeline = once(lambda models, question: 1 / 0, modules=MODULES)
    with pytest.raises(OptimizationError) as raised:
        tune(pipeline=pipeline)
    assert "(program_error x14); the first: build: ZeroDivisionError" in str(raised.value)


def test_a_module_whose_calls_nobody_sees_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It would ask by a key of its own: its models still race, end to end."""

    def build(models: Models) -> Any:
        seen, hidden = locate_and_solve(models), models["hidden"].name

        def call(table: str, question: str) -> Any:
            found = seen(table=table, question=question)
            return {"answer": "spoilt"} if hidden == "sim/rowan" else found

        return call

    own: Any = {"locate": ["sim/alder"], "solve": ["sim/birch"]}
    pipeline = from_callable(
        build, {"locate": "sim/alder", "solve": "sim/birch", "hidden": "sim/rowan"},
        outputs=["answer"],
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        result = tune(pipeline=pipeline, models=MODELS, search_space=SearchSpace(models=own))
    text = [r.message for r in caplog.records if "made no call in" in r.message]
    assert [message.split(",")[0] for message in text] == [
        "module 'hidden' made no call in 14 runs: either the code does not reach it"
    ]
    assert result.config.modules["hidden"].models != ("sim/rowan",)
    assert result.score.mean > result.baseline.mean


def test_it_is_tracked_saved_loaded_served_and_run(
    default_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import mlflow

    result = tune(
        ROWS[:10], MODELS[:2], pipeline=agent(outputs=()), tracked=True, metric=scored,
        diagnoser=None,
    )  # fmt: skip
    asked = {name: ROWS[0][name] for name in ("table", "question")}
    answer = result.pipeline(**asked).answer

    result.save(tmp_path / "tuned.yaml")
    assert Pipeline.load(tmp_path / "tuned.yaml", allow_code=True)(**asked).answer == answer
    result.report(tmp_path / "report.html")
    assert "agent" in (tmp_path / "report.html").read_text(encoding="utf-8")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(result.tracking_uri))
    run = mlflow.get_run(str(result.run_id))
    assert run.data.params["final/locate.model"] == result.config.modules["locate"].models[0]
    outputs: Any = run.outputs
    output = max(outputs.model_outputs, key=lambda each: each.step)  # the tuned one
    served = mlflow.pyfunc.load_model(f"models:/{output.model_id}").predict([asked])
    assert list(served.columns) == ["answer", "failure"]
    assert served.to_dict("records") == [{"answer": answer, "failure": None}]

    inputs = [f"{name}={value}" for name, value in asked.items()]
    assert main(["run", "--allow-code", str(tmp_path / "tuned.yaml"), "--input", *inputs]) == 0
    assert json.loads(capsys.readouterr().out) == {"answer": answer}


def scored(example: Any, prediction: Any) -> float:
    return float(prediction.answer == example.answer)


def test_code_that_writes_its_prompts_has_none_to_tune() -> None:
    with pytest.raises(ValueError, match=r"got 'prompts' alone.*'allocation' has its models"):
        tune(pipeline=agent(), stages=["prompts"])
