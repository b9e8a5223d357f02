"""What is wrong is found early, and told so that it can be put right."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import dspy
import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest
from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from evaluators.errors import DatasetError, MetricError
from evaluators.metrics import llm_judge
from optimizer.errors import BudgetTooSmall, OptimizationError
from optimizer.setup.plan import prepare
from optimizer.stages.allocation.stage import Allocation
from optimizer.stages.resolver import resolve_stages
from pipelines import Module, Pipeline
from pipelines.adapters.callables import from_callable
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from pipelines.patterns import locate_solve
from pipelines.providers import price_of
from search_spaces import (
    SearchSpace,
)
from tests.optimizer.runs import MODELS, ROWS, counting_server, served_models, tune

RENAMED = [{"tables": r["table"], "question": r["question"], "answer": r["answer"]} for r in ROWS]


def refusal(error: type[BaseException], *args: Any, **arguments: Any) -> str:
    """The message of what `optimize` raises."""
    with pytest.raises(error) as raised:
        tune(*args, **arguments)
    assert raised.type is error
    return str(raised.value)


class Nameless:
    def improve(self, state: Any) -> None:
        pass


def test_one_example_is_enough_where_none_is_held_out() -> None:
    result = tune(ROWS[:1], MODELS[:1], holdout=0)
    assert not result.held_out
    assert result.tuned_figures.examples == 1


def test_a_misspelt_field_between_modules_is_shown_beside_what_is_written() -> None:
    pipeline = Pipeline(
        "x", [Module("locate", "table, question -> task"), Module("solve", "tsk -> answer")]
    )
    message = refusal(DatasetError, pipeline=pipeline)
    assert message.startswith("module 'solve' reads 'tsk', which no module writes and the dataset")
    assert "nearest: 'task'" in message


@pytest.mark.parametrize(("column", "what"), [("answer", "metric"), ("table", "pipeline")])
def test_a_column_of_nulls_is_refused_and_some_nulls_are_reported(
    column: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = refusal(DatasetError, [{**row, column: None} for row in ROWS])
    assert message.startswith(what)
    assert f"needs the column '{column}', which is null in all rows" in message
    tune([{**ROWS[0], "answer": None}, *ROWS[1:]], MODELS[:1])
    assert "1 of 20 rows have no answer (null), which metric 'exact_match' needs" in caplog.text


def test_a_function_that_can_not_be_saved_is_reported_before_the_search(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = Pipeline(
        "x",
        [
            *locate_solve().modules,
            Module("tidy", "answer -> tidied", function=lambda answer: answer),
        ],
    )
    rows = [{**row, "tidied": row["answer"]} for row in ROWS]
    with pytest.raises(BudgetTooSmall):
        tune(rows, pipeline=pipeline, budget=Budget(calls=3))
    assert not caplog.records, "what is refused needs no warning"
    tune(rows, MODELS[:1], pipeline=pipeline)
    assert "the result can be used, but not saved as YAML" in caplog.text


def test_what_may_be_a_key_is_not_quoted() -> None:
    wrong: Any = "sk-1234"
    with pytest.raises(ValueError, match=r"^Model\(params=...\) must be a valid dictionary$"):
        Model("m", params=wrong)


def test_columns_that_are_inputs_are_not_taken_for_labels() -> None:
    """`table` is more like `answer` than `label` is."""
    rows = [
        {"table": r["table"], "question": r["question"], "label": r["answer"], "source": "a"}
        for r in ROWS
    ]
    message = refusal(MetricError, rows)
    assert "columns that are no inputs, and so may be labels: label, source" in message
    assert "nearest: output 'answer' and column 'label', which exact_match(" in message
    assert "exact_match(field='answer', column='label') would compare" in message
    unlabelled = [{"table": r["table"], "question": r["question"]} for r in ROWS]
    assert "all columns are inputs of the pipeline" in refusal(MetricError, unlabelled)


def raising(example: dspy.Example, prediction: dspy.Prediction) -> float:
    return 1.0 / len(prediction.answer.replace(prediction.answer, ""))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (raising, "metric 'raising' raised ZeroDivisionError: "),
        (lambda e, p: float("nan"), "metric '<lambda>' returned nan, but a score must lie in"),
        (lambda e, p: 2, "metric '<lambda>' returned 2.0, but a score must lie in [0, 1]"),
        (lambda e, p: None, "metric '<lambda>' returned None, but a score is a number"),
        (lambda e, p: "0.7", "metric '<lambda>' returned '0.7', but a score is a number in [0, 1]"),
        (lambda e, p: {"f1": 1.0}, "metric '<lambda>' returned {'f1': 1.0}, but a score is a num"),
    ],
)
def test_a_metric_that_gives_no_score_is_named_with_the_example(metric: Any, expected: str) -> None:
    message = refusal(MetricError, metric=metric)
    assert message.startswith(expected)
    shown = message.partition("; the example: ")[2]
    (row,) = (row for row in ROWS if repr(row["table"]) in shown)  # its number would mislead
    assert f"with the label {{'answer': '{row['answer']}'}} and the answer {{'answer': " in shown


def test_a_metric_that_is_wrong_for_some_rows_names_one_of_them() -> None:
    wrong = {row["question"] for row in ROWS[::3]}
    message = refusal(MetricError, metric=lambda e, p: None if e.question in wrong else True)
    assert any(repr(question) in message for question in wrong)


def test_a_metric_that_raises_ends_the_calls_too() -> None:
    with counting_server() as server:
        refusal(MetricError, ROWS, served_models(server), metric=raising, concurrency=1)
        assert server.requests <= 5, "three of them ask whether a model answers at all"


def test_every_model_that_cannot_be_called_is_named_at_once() -> None:
    message = refusal(ModelError, models=["sim/alder", "sim/nobody", "openai/gpt-4o-mni"])
    assert "sim/nobody" in message
    assert "model 'openai/gpt-4o-mni' needs an API key: set OPENAI_API_KEY" in message
    assert "'openai/gpt-4o-mni' (nearest known: 'openai/gpt-4o-mini')" in message


def test_a_missing_key_is_named_before_the_first_call() -> None:
    with counting_server() as server:
        models = served_models(server, api_key_env="LOOPBACK_API_KEY")
        message = refusal(ModelError, models=models)
        assert "needs an API key: set LOOPBACK_API_KEY" in message
        assert server.requests == 0


def test_when_all_calls_fail_the_message_says_how() -> None:
    with counting_server(Behaviour.server_error()) as server:
        message = refusal(OptimizationError, models=served_models(server))
        assert message.startswith("the pipeline as given could not be scored; 4 of 4 examples")
        assert "(server_error x4); the first: locate: " in message
        assert "scripted 500" in message
        assert server.requests == 3 + 8, "each model, and four examples, each tried twice"
        assert server.usd == 0


def test_a_budget_too_small_in_calls_says_what_is_needed() -> None:
    message = refusal(BudgetTooSmall, budget=Budget(calls=51))
    # 14 search examples once, 6 held-out ones for two configs, two modules
    assert "the baseline on 14 search examples and 2 final passes over 6 held-out" in message
    assert "take 52 calls (2 each), and the search itself takes more; give more" in message
    assert tune(budget=Budget(calls=52)).held_out


def test_a_budget_too_small_for_one_call_says_what_is_needed() -> None:
    with counting_server() as server:
        message = refusal(BudgetTooSmall, models=served_models(server), budget=Budget(usd=0.001))
        assert "the budget can't pay for the baseline: a call to alder may cost $0.0" in message
        assert (
            "run the pipeline 26 times, and the longest answer to the first call alone" in message
        )
        assert "give more, fewer examples, or models a lower max_tokens" in message
        assert server.requests == 0


def test_a_budget_too_small_in_dollars_says_what_is_needed() -> None:
    models = [Model(name, max_tokens=300) for name in MODELS]
    message = refusal(BudgetTooSmall, models=models, budget=Budget(usd=0.02))
    assert message.startswith("a budget of $0.02 is too small: the baseline and the final pass")
    needed = float(message.partition("takes about $")[2].split()[0])
    assert 0.02 < needed < 0.1
    assert tune(models=models, budget=Budget(usd=needed * 1.1)).held_out, "it was true"


@pytest.mark.parametrize(("longest", "seed"), [(300, 0), (300, 1), (2048, 0), (2048, 2)])
def test_a_search_begins_with_the_dollars_that_are_named(longest: int, seed: int) -> None:
    models = [Model(name, max_tokens=longest) for name in MODELS]
    least = price_of(models[0]).output_usd * longest
    message = refusal(BudgetTooSmall, models=models, budget=Budget(usd=2 * least), seed=seed)
    named = float(
        message.rpartition("begin a search takes about $")[2].partition(": give that,")[0]
    )
    result = tune(models=models, budget=Budget(usd=named), seed=seed, diagnoser=None)
    assert result.left_out == ()
    assert {"single-model", "allocation"} <= {trial.stage for trial in result.trials_}


def test_a_budget_too_small_in_seconds_says_so() -> None:
    slow = Behaviour.slow(0.05)
    with counting_server(slow) as server:
        message = refusal(
            BudgetTooSmall, models=served_models(server), budget=Budget(seconds=0.04), concurrency=1
        )
    assert "the budget can't pay for the baseline: the budget of 0.04 seconds" in message


def test_a_corrupt_cache_is_set_aside_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "replies"
    folder.mkdir()
    (folder / "cache.sqlite").write_bytes(b"SQLite format 3\x00" + b"no database" * 500)
    with caplog.at_level(logging.WARNING):
        result = tune(cache=folder, models=MODELS[:2])
    assert result.held_out
    [warning] = [r.getMessage() for r in caplog.records if "corrupt" in r.getMessage()]
    assert "set aside as cache.sqlite.corrupt-" in warning
    [aside] = folder.glob("cache.sqlite.corrupt-*")
    assert aside.read_bytes().endswith(b"no database")


def test_a_cache_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"can't be written .*choose another folder with Gateway"):
        Gateway(tmp_path / "file" / "cache")


def test_a_blocked_mlruns_is_reported_and_the_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    Path("mlruns").write_text("a file, where the folder should be")
    with caplog.at_level(logging.WARNING):
        result = tune(models=MODELS[:1], diagnoser=None, tracked=True)
    assert result.held_out
    assert result.run_id is None
    warning = next(r.getMessage() for r in caplog.records if "can't be written" in r.getMessage())
    assert "mlruns/mlflow.db" in warning
    assert "the search goes on, and what it logs is kept in" in warning


def upper(word: str) -> str:
    return word.upper()


def test_a_pipeline_without_models_has_nothing_to_allocate() -> None:
    pipeline = Pipeline("plain", [Module("up", "word -> answer", function=upper)])
    rows = [{"word": "a", "answer": "A"}, {"word": "b", "answer": "B"}]
    message = refusal(ValueError, rows, pipeline=pipeline)
    assert message == "pipeline 'plain' calls no model: there is nothing to allocate"


def broken(task: str) -> str:
    raise KeyError(f"no unit in {task[:0]}'task'")


def test_a_function_module_that_always_raises_ends_the_search_early() -> None:
    modules = [
        Module("locate", "table, question -> task"),
        Module("convert", "task -> converted", function=broken),
        Module("solve", "converted -> answer"),
    ]
    with counting_server() as server:
        message = refusal(
            OptimizationError, ROWS, served_models(server), pipeline=Pipeline("broken", modules)
        )
        assert message.startswith("the pipeline as given fails on every example tried, and so does")
        assert "14 of 14 examples failed (function_error x14); the first: convert: " in message
        assert "KeyError: \"no unit in 'task'\"" in message
        assert server.requests == 3 + 14 + 2 * 4, "the baseline, and a look at each single model"


def test_an_outage_of_more_than_a_tenth_of_the_calls_is_reported() -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        content = request.messages[-1]["content"]
        down = any(row["table"] in content for row in ROWS[::4])
        return Behaviour.server_error() if down else Behaviour()

    with counting_server(script) as server:
        message = refusal(OptimizationError, ROWS, served_models(server))
    assert message.startswith("too many calls of every config fail; ")
    assert " of 14 examples failed (" in message
    assert "server_error x" in message


def test_a_pipeline_that_always_fails_is_not_run_on_all_examples() -> None:
    modules = [
        Module("convert", "question -> task", function=unable),
        Module("solve", "task -> answer"),
    ]
    asked.clear()
    rows = simulated_dataset("arithmetic", 100)
    message = refusal(OptimizationError, rows, MODELS, pipeline=Pipeline("broken", modules))
    assert "16 of 16 examples failed (function_error x16)" in message
    assert len(asked) == 16


asked: list[str] = []


def unable(question: str) -> str:
    asked.append(question)
    raise ValueError("it can not")


@pytest.mark.parametrize(
    ("space", "stages", "warned"),
    [
        ({"width": (1, 3)}, "allocation", "choices of width, which the stage 'structure' compares"),
        ({"instructions": {"solve": ["Do."]}}, "allocation", "of instructions"),
        ({"instructions": {"solve": ["Do."]}}, ["allocation", "structure"], None),
        ({"width": {"solve": (1, 3)}}, "allocation", "choices of width"),
        ({"width": (1,), "temperature": ()}, "allocation", None),
        ({"width": {"solve": (1,)}, "temperature": None}, "allocation", None),
        ({"width": (1, 3)}, ["structure"], None),
        ({"width": (1, 3)}, [Allocation(name="own")], None),
    ],
)
def test_choices_that_no_stage_compares_are_reported(
    space: dict[str, Any], stages: Any, warned: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(
        locate_solve(),
        ROWS,
        MODELS,
        search_space=SearchSpace(**space),
        stages=resolve_stages(stages),
    )
    expected_message = [
        record.getMessage() for record in caplog.records if "search_space" in record.getMessage()
    ]
    assert len(expected_message) == (warned is not None)
    assert all(str(warned) in each for each in expected_message)


def test_whose_model_can_not_be_called_is_reported() -> None:
    metric = llm_judge("The answer is right.", model="sim/nobody")
    assert refusal(ModelError, metric=metric).startswith("as judge: there is no simulated model")
    assert refusal(ModelError, diagnoser="sim/nobody").startswith("as diagnoser: there is no")


def test_what_is_no_gateway_is_refused() -> None:
    nothing: Any = "answers"
    message = refusal(ValueError, gateway=nothing)
    assert (
        message == "gateway must be a Gateway, such as Gateway(cache='answers'), but got 'answers'"
    )


def test_inputs_that_json_has_no_form_for_leave_the_record_whole(
    caplog: pytest.LogCaptureFixture, default_store: str
) -> None:
    rows = [{"question": object(), "answer": "4"} for _ in range(8)]

    def factory(models: Any) -> Any:
        return lambda question: models["solve"].name and "4"

    pipeline = from_callable(factory, ["solve"], outputs=["answer"])
    result = tune(rows, MODELS[:1], pipeline=pipeline, tracked=True, holdout=0)
    assert result.score.mean == 1
    assert "could not be prepared" not in caplog.text


def test_a_model_too_dear_to_call_does_not_hide_the_one_that_works() -> None:
    """Where the pipeline as given fails always, others are tried before all examples are."""
    mute = register(SimulatedModel("mute", refusal_rate=1.0))
    dear = Model("sim/alder", label="dear", output_usd_per_million=1000.0)
    models = [f"sim/{mute.name}", dear, "sim/birch"]
    result = tune(ROWS, models, budget=Budget(usd=1), diagnoser=None)
    assert set(result.config.allocation.values()) == {("sim/birch",)}
