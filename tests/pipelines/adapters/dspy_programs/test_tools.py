"""DSPy programs whose models call tools natively, or look at images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dspy
import pytest

from benchmarks.loopback import LoopbackRequest, LoopbackServer, calling, images_of
from benchmarks.loopback.behaviour import Behaviour
from pipelines import Module, Pipeline
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.programs.trace import Trace
from pipelines.providers.output_fields import requested_fields


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Choose(dspy.Signature):
    """Choose the tools to use."""

    question: str = dspy.InputField()
    tools: list[dspy.Tool] = dspy.InputField()
    calls: dspy.ToolCalls = dspy.OutputField()


class UseTools(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.choose = dspy.Predict(Choose)

    def forward(self, question: str) -> Any:
        said = self.choose(question=question, tools=[dspy.Tool(add)])
        return dspy.Prediction(answer=str([call.execute() for call in said.calls.tool_calls]))


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    opened = Gateway(None, retries=0)
    yield opened
    opened.close()


def run(gateway: Gateway, server: LoopbackServer, pipeline: Any, **inputs: Any) -> Trace:
    model = Model(
        "openai/tiny", "tiny", server.url, input_usd_per_million=1, output_usd_per_million=1
    )
    session = gateway.session("s", Budget(usd=5))
    bound: Any = pipeline.bind(pipeline.default_config("tiny"), {"tiny": model}, session)
    trace: Trace = bound.run(inputs)
    return trace


ADAPTERS = (dspy.ChatAdapter(use_native_function_calling=True), dspy.JSONAdapter())
NATIVE = pytest.mark.parametrize("adapter", ADAPTERS, ids=["chat", "json"])


@NATIVE
def test_a_program_gets_the_calls_of_a_reply_without_text(
    gateway: Gateway, adapter: dspy.Adapter
) -> None:
    seen: list[LoopbackRequest] = []

    def script(request: LoopbackRequest) -> Behaviour:
        seen.append(request)
        return Behaviour()

    with (
        LoopbackServer(script, reply=lambda *_: calling("add", a=1, b=2)) as server,
        dspy.context(adapter=adapter),
    ):
        pipeline = from_dspy(UseTools())
        found = [run(gateway, server, pipeline, question="1 + 2?") for _ in range(2)]
    assert [trace.outputs for trace in found] == [{"answer": "[3]"}] * 2, found[0].failure
    assert len(seen) == 1
    (tool,) = seen[0].params["tools"]
    assert tool["function"]["name"] == "add"


def written(**function: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": function}
    return {"content": None, "tool_calls": [call]}


@NATIVE
@pytest.mark.parametrize(
    "message",
    [
        written(name="add", arguments="{1"),
        written(name="add", arguments="[1]"),
        written(arguments="{}"),
        {"content": None, "tool_calls": [{}]},
        {"content": None, "tool_calls": [{"function": "add"}]},
    ],
)
def test_a_malformed_call_is_the_models_failure(
    gateway: Gateway, adapter: dspy.Adapter, message: Mapping[str, Any]
) -> None:
    with LoopbackServer(reply=lambda *_: message) as server, dspy.context(adapter=adapter):
        failure = run(gateway, server, from_dspy(UseTools()), question="q").failure
    assert failure is not None
    assert (failure.kind, failure.infrastructure, failure.module) == ("unparsable", False, "choose")
    assert "tiny wrote a tool call without a name" in failure.message


def test_calls_of_tools_that_nobody_asked_for_are_no_empty_reply(gateway: Gateway) -> None:
    pipeline = Pipeline("ask", [Module("ask", "question -> answer")])
    with LoopbackServer(reply=lambda *_: calling("add", a=1, b=2)) as server:
        failure = run(gateway, server, pipeline, question="q").failure
    assert failure is not None
    assert (failure.kind, failure.infrastructure) == ("unparsable", False)


def test_a_server_that_takes_no_tools_is_named(gateway: Gateway) -> None:
    with (
        LoopbackServer(Behaviour(status=400)) as server,
        dspy.context(adapter=ADAPTERS[0]),
    ):
        failure = run(gateway, server, from_dspy(UseTools()), question="q").failure
    assert failure is not None
    assert (failure.kind, failure.infrastructure) == ("bad_request", True)
    assert failure.message.startswith("tiny at http://127.0.0.1")
    assert "it was sent tools: does the model take that?" in failure.message


IMAGES = ["data:image/png;base64," + "A" * 400, "https://example.com/cat.png"]


def test_a_module_of_a_pipeline_sees_images(gateway: Gateway) -> None:
    def look(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
        fields = requested_fields(messages)
        assert fields is not None
        return fields.written({"answer": images_of(messages)[0]})

    pipeline = Pipeline("look", [Module("look", "image: dspy.Image, question -> answer")])
    with LoopbackServer(reply=look) as server:
        for url in IMAGES:
            found = run(gateway, server, pipeline, image=dspy.Image(url), question="What is it?")
            assert found.outputs == {"answer": url}, found.failure


def test_what_has_no_place_in_a_chat_is_not_sent(gateway: Gateway) -> None:
    pipeline = Pipeline("hear", [Module("hear", "sound: dspy.Audio -> answer")])
    with LoopbackServer() as server:
        failure = run(gateway, server, pipeline, sound=dspy.Audio(data="AAAA", audio_format="wav"))
        assert server.requests == 0
    assert failure.failure is not None
    assert failure.failure.kind == "unsupported_input"
    assert "audio" in failure.failure.message
