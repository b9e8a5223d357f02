"""Parsed outputs are found again without DSPy, and nothing else changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import dspy
import pydantic
import pytest

from benchmarks.loopback import LoopbackServer
from pipelines import Module, Pipeline, Program
from pipelines.gateway.budget import Spend
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.programs.memo import Memo
from pipelines.programs.trace import Trace

TEXT = "question -> answer"
QUESTIONS = ["one?", "two?"]


class Person(pydantic.BaseModel):
    name: str


class Rated(dspy.Signature):
    question: str = dspy.InputField()
    verdict: Literal["yes", "no"] = dspy.OutputField()
    scores: list[float] = dspy.OutputField()


class Named(dspy.Signature):
    question: str = dspy.InputField()
    person: Person = dspy.OutputField()


def answers(_messages: Sequence[Mapping[str, Any]], _params: Mapping[str, Any]) -> str:
    values = {
        "answer": "An answer", "verdict": "no", "scores": "[1.0, 2.5]", "reasoning": "Because.",
        "person": '{"name": "Ada"}',
    }  # fmt: skip
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in values.items())


def run(
    server: LoopbackServer, cache: Path, signature: str | type[dspy.Signature] = TEXT,
    *, strategy: Literal["predict", "chain_of_thought"] = "predict", max_tokens: int = 500,
    inputs: Sequence[Any] = QUESTIONS, address: str | None = "", **config: Any,
) -> tuple[list[Trace], Spend, int]:  # fmt: skip
    """Traces, nominal spend, and how often DSPy's `Predict` ran, in a process that begins anew."""
    model = Model(
        "hosted_vllm/tiny", "tiny", api_base=server.url if address == "" else address,
        max_tokens=max_tokens,
        input_usd_per_million=2, output_usd_per_million=8,
    )  # fmt: skip
    pipeline = Pipeline("p", [Module("solve", signature, strategy=strategy)])
    gateway = Gateway(cache)
    session = gateway.session("study")
    given = pipeline.default_config("tiny").with_knobs("solve", **config)
    program = pipeline.bind(given, {"tiny": model}, session, Memo())
    with patch.object(
        dspy.Predict, "forward", autospec=True, side_effect=dspy.Predict.forward
    ) as f:
        traces = [program.run({"question": question}) for question in inputs]
    gateway.close()
    return traces, session.nominal, f.call_count


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"strategy": "chain_of_thought"},
        {"signature": Rated},
        {"width": 3, "temperature": 0.5, "aggregator": "majority_vote"},
    ],
)
def test_a_second_process_runs_without_dspy_and_counts_the_same(
    tmp_path: Path, given: Mapping[str, Any]
) -> None:
    with LoopbackServer(reply=answers) as server:
        first, paid, asked = run(server, tmp_path, **given)
        second, nominal, again = run(server, tmp_path, **given)
        assert server.requests == asked > 0
    assert again == 0
    assert nominal == paid
    assert [trace.outputs for trace in second] == [trace.outputs for trace in first]
    for before, after in zip(first, second, strict=True):
        for old, new in zip(before.calls, after.calls, strict=True):
            assert (new.cached, old.cached) == (True, False)
            assert (new.key, new.usd, new.latency_s, new.output_tokens, new.model) == (
                old.key, old.usd, old.latency_s, old.output_tokens, old.model
            )  # fmt: skip
        assert after.latency_s == before.latency_s
        assert after.steps[0].agreement == before.steps[0].agreement


@pytest.mark.parametrize(
    "other",
    [
        {"instructions": "Say more."},
        {"demos": ({"question": "q", "answer": "a"},)},
        {"temperature": 0.5},
        {"strategy": "chain_of_thought"},
        {"signature": "question -> answer, verdict"},
        {"max_tokens": 600},
        {"inputs": ["three?", "four?"]},
    ],
)
def test_what_decides_outputs_is_in_the_key(tmp_path: Path, other: Mapping[str, Any]) -> None:
    with LoopbackServer(reply=answers) as server:
        run(server, tmp_path)
        *_, asked = run(server, tmp_path, **other)
    assert asked == len(QUESTIONS)


def test_an_address_from_a_variable_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with LoopbackServer(reply=answers) as server:
            monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
            *_, asked = run(server, tmp_path, address=None)
            assert server.requests == asked == len(QUESTIONS)


def test_types_that_json_does_not_keep_are_parsed_each_time(tmp_path: Path) -> None:
    with LoopbackServer(reply=answers) as server:
        run(server, tmp_path, Named)
        traces, _, asked = run(server, tmp_path, Named)
        assert traces[0].outputs == {"person": Person(name="Ada")}
        assert asked == len(QUESTIONS)
        for _ in range(2):
            *_, asked = run(server, tmp_path, inputs=[("a", "tuple")])
            assert asked == 1


def test_failures_are_not_kept(tmp_path: Path) -> None:
    with LoopbackServer(reply=lambda *_: "") as server:
        for _ in range(2):
            traces, _, asked = run(server, tmp_path)
            assert asked == len(QUESTIONS)
            assert traces[0].failure
            assert traces[0].failure.kind == "empty"


@pytest.mark.parametrize("damage", ["DELETE FROM replies", "UPDATE replies SET text = 'x'"])
def test_outputs_without_their_reply_are_asked_for_anew(tmp_path: Path, damage: str) -> None:
    with LoopbackServer(reply=answers) as server:
        run(server, tmp_path)
        with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as db:
            db.execute(damage)
            db.commit()
        run(server, tmp_path)
        assert server.requests == 2 * len(QUESTIONS)


@pytest.mark.parametrize("width", [1, 2])
def test_edited_copies_ask_with_their_edits(tmp_path: Path, width: int) -> None:
    with LoopbackServer(reply=answers) as server:
        gateway = Gateway(tmp_path)
        model = Model("openai/tiny", "tiny", api_base=server.url, max_tokens=500,
                      input_usd_per_million=2, output_usd_per_million=8)  # fmt: skip
        pipeline = Pipeline("p", [Module("solve", "question -> answer")])
        config = pipeline.default_config("tiny").with_knobs(
            "solve", width=width, temperature=0.5, aggregator="majority_vote" if width > 1 else None
        )
        program = pipeline.bind(config, {"tiny": model}, gateway.session("study"), Memo())
        assert isinstance(program, Program)
        program.run({"question": "one?"})
        edited = program.deepcopy()
        for predictor in edited.predictors():
            predictor.signature = predictor.signature.with_instructions("Say more.")
        edited.run({"question": "one?"})
        gateway.close()
        assert server.requests == 2 * width
