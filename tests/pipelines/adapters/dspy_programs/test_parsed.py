"""A cached call of a DSPy program needs no DSPy, wherever the config alone decides the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dspy
import pytest

from benchmarks.loopback import LoopbackServer
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.budget import Spend
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.programs.memo import Memo
from pipelines.programs.trace import Trace
from tests.pipelines.adapters.dspy_programs.programs import Single

WIDE = {"width": 2, "temperature": 0.5, "aggregator": "majority_vote"}


def answers(messages: Sequence[Mapping[str, Any]], _params: Mapping[str, Any]) -> str:
    """In the form that is asked for, which the answer names."""
    if "<answer>" in messages[0]["content"]:
        return "<answer>xml</answer>"
    return "[[ ## reasoning ## ]]\nBecause.\n\n[[ ## answer ## ]]\nchat"


class Thoughtful(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        said = self.think(question=question)
        assert said.completions is None or said.completions.answer == [said.answer]
        seen = dspy.settings.trace[-1][2]
        return dspy.Prediction(answer=said.answer, traced=seen.answer)


class Changing(Single):
    """Asks within another adapter."""

    def forward(self, question: str) -> Any:
        with dspy.context(adapter=dspy.XMLAdapter()):
            return self.answer(question=question)


class OwnPredict(dspy.Predict):
    """What it does to prompts is not known."""


def run(
    server: LoopbackServer, cache: Path, program: dspy.Module, **knobs: Any
) -> tuple[Trace, Spend, int]:
    """The trace, nominal spend, and how often `Predict` ran, in a session that begins anew."""
    model = Model(
        "openai/tiny", "tiny", api_base=server.url, max_tokens=500,
        input_usd_per_million=2, output_usd_per_million=8,
    )  # fmt: skip
    counted = patch.object(
        dspy.Predict, "_forward_preprocess", autospec=True,
        side_effect=dspy.Predict._forward_preprocess,
    )  # fmt: skip
    # MLflow's autologging, once on, has DSPy track usage, and each call then needs DSPy
    with counted as asked, dspy.context(track_usage=False, callbacks=[]):
        pipeline, gateway = from_dspy(program), Gateway(cache)
        session = gateway.session("study")
        (module,) = pipeline.modules
        config = pipeline.default_config("tiny").with_knobs(module.name, **knobs)
        bound = pipeline.bind(config, {"tiny": model}, session, Memo())
        trace = bound.run({"question": "one?"})
    gateway.close()
    return trace, session.nominal, asked.call_count


@pytest.mark.parametrize("knobs", [{}, WIDE])
def test_a_second_session_runs_without_dspy_and_leaves_the_same(
    tmp_path: Path, knobs: Mapping[str, Any]
) -> None:
    with LoopbackServer(reply=answers) as server:
        first, paid, asked = run(server, tmp_path, Thoughtful(), **knobs)
        second, nominal, again = run(server, tmp_path, Thoughtful(), **knobs)
        assert server.requests == asked > 0
    assert again == 0
    assert nominal == paid
    assert first.outputs == second.outputs == {"answer": "chat", "traced": "chat"}
    assert [step.outputs for step in second.steps] == [step.outputs for step in first.steps]
    assert second.latency_s == first.latency_s
    assert [call.key for call in second.calls] == [call.key for call in first.calls]


@pytest.mark.parametrize("knobs", [{}, WIDE])
@pytest.mark.parametrize(
    "program",
    [
        Changing,
        lambda: Single(answer=OwnPredict("question -> answer")),
        lambda: Single(answer=dspy.Predict("question -> answer", stop=["."])),
    ],
)
def test_prompts_that_more_decides_are_written_each_time(
    tmp_path: Path, program: Any, knobs: Mapping[str, Any]
) -> None:
    with LoopbackServer(reply=answers) as server:
        run(server, tmp_path, Single(), **knobs)
        *_, first = run(server, tmp_path, program(), **knobs)
        *_, again = run(server, tmp_path, program(), **knobs)
    assert first == again > 0


@pytest.mark.parametrize("knobs", [{}, WIDE])
def test_another_adapter_does_not_get_what_the_ordinary_one_read(
    tmp_path: Path, knobs: Mapping[str, Any]
) -> None:
    with LoopbackServer(reply=answers) as server:
        plain, *_ = run(server, tmp_path, Single(), **knobs)
        with dspy.context(adapter=dspy.XMLAdapter()):
            other, *_ = run(server, tmp_path, Single(), **knobs)
    assert plain.outputs == {"answer": "chat"}
    assert other.outputs == {"answer": "xml"}
