"""Traces to fine-tune on: what is in them, what is left out, and that DSPy takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import dspy
import pytest
from dspy.clients.provider import Provider
from dspy.clients.utils_finetune import TrainDataFormat, validate_data_format
from dspy.teleprompt.bootstrap_finetune import build_call_data_from_trace

from optimizer.cli import main
from optimizer.evaluation.evaluation import Evaluated, evaluate
from optimizer.export.finetuning import finetuning_data
from optimizer.results.result import Result
from pipelines import Pipeline, PipelineError
from pipelines.adapters.callables import from_callable
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.gateway import Gateway, default_gateway
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import simulated_dataset
from search_spaces import ModuleConfig, PipelineConfig
from tests.optimizer.runs import HELD_OUT, ROWS, tune
from tests.pipelines.adapters.callables.agents import locate_and_solve

ALDER, BIRCH = "sim/alder", "sim/birch"
WIDE = ModuleConfig(models=(BIRCH,), width=3, temperature=0.7, aggregator="majority_vote")


@pytest.fixture(scope="module")
def result() -> Result:
    return tune()


def scored(pipeline: Any, rows: Any = ROWS, **arguments: Any) -> Evaluated:
    return evaluate(pipeline, rows, gateway=Gateway(None), **arguments)


def configured(**modules: ModuleConfig) -> Pipeline:
    config = PipelineConfig(modules=modules)
    return Pipeline("locate-solve", locate_solve().modules, config=config)


def inputs_of(trace: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = trace["example"].inputs().toDict()
    return values


def test_held_out_examples_are_left_out(result: Result) -> None:
    data = finetuning_data(scored(result.pipeline))
    assert data.held_out == HELD_OUT
    assert data.examples + data.unsuccessful == len(ROWS) - HELD_OUT
    held_out = [dict(example.inputs) for example in result.examples_]
    assert not [trace for trace in data.traces if inputs_of(trace) in held_out]
    with pytest.raises(PipelineError, match="6 were held out"):
        finetuning_data(scored(result.pipeline, held_out_rows(result)))


def held_out_rows(result: Result) -> list[dict[str, Any]]:
    return [{**example.inputs, **example.labels} for example in result.examples_]


def test_examples_that_failed_or_scored_less_are_left_out() -> None:
    weak = configured(
        locate=ModuleConfig(models=(ALDER,)), solve=ModuleConfig(models=("sim/rowan",))
    )
    found = scored(weak)
    right = [index for index, score in found.evaluation.scores.items() if score == 1]
    assert 0 < len(right) < len(ROWS)
    data = finetuning_data(found)
    assert [trace["example_ind"] for trace in data.traces] == right
    assert {name: len(chats) for name, chats in data.chats.items()} == {
        "locate": len(right),
        "solve": len(right),
    }
    assert data.unsuccessful == len(ROWS) - len(right)


def test_chats_are_what_dspy_makes_of_the_traces_itself() -> None:
    """Also of a wide module: the outcome of its vote is what one model is to answer."""
    data = finetuning_data(scored(configured(locate=ModuleConfig(models=(ALDER,)), solve=WIDE)))
    made = [
        build_call_data_from_trace(trace["trace"], place, dspy.ChatAdapter())
        for place in (0, 1)
        for trace in data.traces
    ]
    assert [*data.chats["locate"], *data.chats["solve"]] == made
    validate_data_format(made, TrainDataFormat.CHAT)
    prepare = dspy.BootstrapFinetune(metric=lambda *_: True)._prepare_finetune_data
    lm = dspy.LM("openai/gpt-4o-mini")
    rows, form = prepare(trace_data=data.traces, lm=lm, pred_ind=1)
    assert form == "chat"
    assert sorted(map(str, rows)) == sorted(map(str, data.chats["solve"]))
    for trace, chat in zip(data.traces, data.chats["solve"], strict=True):
        roles = [message["role"] for message in chat["messages"]]
        assert roles == ["system", "user", "assistant"]
        assert f"]]\n{trace['prediction'].answer}\n" in chat["messages"][-1]["content"]


class Keeping(Provider):
    """A provider of fine-tuning that only keeps what it is given."""

    given: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        super().__init__()
        self.finetunable = True

    @staticmethod
    def finetune(job: Any, model: str, train_data: list[Any], *form: Any, **_: Any) -> str:
        validate_data_format(train_data, TrainDataFormat.CHAT)
        Keeping.given += train_data
        return "openai/tuned"


def test_dspy_fine_tunes_with_the_chats() -> None:
    data = finetuning_data(scored(configured(locate=ModuleConfig(models=(ALDER,)), solve=WIDE)))
    lm = dspy.LM("openai/small", provider=Keeping())
    tuned = lm.finetune(list(data.chats["solve"]), TrainDataFormat.CHAT).result(timeout=30)
    assert Keeping.given == data.chats["solve"]
    assert tuned.model == "openai/tuned"


@pytest.mark.parametrize(("reply_format", "part"), [("json", '"answer":'), ("xml", "<answer>")])
def test_replies_have_the_formats_of_the_modules(reply_format: Any, part: str) -> None:
    solve = ModuleConfig(models=(BIRCH,), reply_format=reply_format)
    data = finetuning_data(scored(configured(locate=ModuleConfig(models=(ALDER,)), solve=solve)))
    asked, reply = data.chats["solve"][0]["messages"][-2:]
    assert part in reply["content"]
    assert part in asked["content"] or reply_format == "json"
    validate_data_format(list(data.chats["solve"]), TrainDataFormat.CHAT)


class Solver(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.locate = dspy.ChainOfThought(
            dspy.Signature("table, question -> task", "Extract the task whose ID is asked for.")
        )
        self.solve = dspy.Predict("task -> answer")

    def forward(self, table: str, question: str) -> dspy.Prediction:
        return self.solve(task=self.locate(table=table, question=question).task)


def test_a_dspy_program_and_its_reasoning() -> None:
    data = finetuning_data(scored(from_dspy(Solver()), models=ALDER))
    assert set(data.chats) == {"locate.predict", "solve"}
    reply = data.chats["locate.predict"][0]["messages"][-1]["content"]
    assert "[[ ## reasoning ## ]]\n" in reply
    assert "[[ ## task ## ]]\nCompute" in reply


def test_demos_come_before_the_question() -> None:
    demo = {"task": "Compute 1 + 1", "answer": "2"}
    solve = ModuleConfig(models=(BIRCH,), demos=(demo,))
    data = finetuning_data(scored(configured(locate=ModuleConfig(models=(ALDER,)), solve=solve)))
    roles = [message["role"] for message in data.chats["solve"][0]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


def test_files_have_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [dict(row) for row in simulated_dataset("locate_solve", 6, rows=4, seed=3)]
    for row in rows:
        row["question"] += " (sk-abc123def456)"
    monkeypatch.setenv("SOME_API_KEY", "sk-abc123def456")
    pipeline = configured(locate=ModuleConfig(models=(ALDER,)), solve=ModuleConfig(models=(BIRCH,)))
    paths = finetuning_data(scored(pipeline, rows)).save(tmp_path / "chats")
    assert [path.name for path in paths] == ["locate.jsonl", "solve.jsonl"]
    text = paths[0].read_text()
    assert "sk-abc123def456" not in text
    assert "(<SOME_API_KEY>)" in text


def test_plain_python_and_thresholds_are_refused() -> None:
    pipeline = configured(locate=ModuleConfig(models=(ALDER,)), solve=ModuleConfig(models=(BIRCH,)))
    with pytest.raises(ValueError, match=r"`0 < at_least <= 1` must hold, but got 0"):
        finetuning_data(scored(pipeline), at_least=0)
    code = from_callable(locate_and_solve, ["locate", "solve"], outputs=["answer"], name="agent")
    with pytest.raises(PipelineError, match="'agent' is plain Python"):
        finetuning_data(scored(code, models=BIRCH))


def test_the_command_writes_a_file_per_module(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default_gateway.cache_clear()
    result.save("tuned.yaml")
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = ["export", "tuned.yaml", "--finetune", str(tmp_path)]
    assert main([*command, "--dataset", "rows.jsonl"]) == 0
    assert f"and {HELD_OUT} were left out as held out" in capsys.readouterr().out
    lines = (tmp_path / "solve.jsonl").read_text().splitlines()
    validate_data_format([json.loads(line) for line in lines], TrainDataFormat.CHAT)
    assert main(command) == 2
    assert "--finetune needs --dataset" in capsys.readouterr().err
