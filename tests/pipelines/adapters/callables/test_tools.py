"""Tools, images and streams pass from the code to the model, and back as its SDK has them."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import litellm
import openai
import pytest

from benchmarks.loopback import LoopbackRequest, LoopbackServer, calling, images_of
from benchmarks.loopback.behaviour import Behaviour
from pipelines.adapters.callables import ModelHandle
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from tests.pipelines.adapters.callables.agents import HTTP, bound, once, user

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
Ask = Callable[..., Any]
"""`ask(handle, messages, **params)`: the message that came back."""


def client(handle: ModelHandle) -> Any:
    return openai.OpenAI(base_url=handle.base_url, api_key="none", http_client=HTTP)


def by_openai(handle: ModelHandle, messages: Any, **params: Any) -> Any:
    answered = client(handle).chat.completions.create(model=handle, messages=messages, **params)
    return answered.choices[0].message


def by_openai_stream(handle: ModelHandle, messages: Any, **params: Any) -> Any:
    """Put together by the SDK's own accumulator."""
    options = {"include_usage": True}
    with client(handle).chat.completions.stream(
        model=handle, messages=messages, stream_options=options, **params
    ) as stream:
        whole = stream.get_final_completion()
    assert whole.usage.total_tokens > 0
    assert whole.choices[0].finish_reason in ("tool_calls", "stop")
    return whole.choices[0].message


def by_litellm(handle: ModelHandle, messages: Any, **params: Any) -> Any:
    params = sent_by_litellm(params)
    return litellm.completion(model=handle, messages=messages, **params).choices[0].message


def by_litellm_async(handle: ModelHandle, messages: Any, **params: Any) -> Any:
    asked = litellm.acompletion(model=handle, messages=messages, **sent_by_litellm(params))
    return asyncio.run(asked).choices[0].message


def by_litellm_stream(handle: ModelHandle, messages: Any, **params: Any) -> Any:
    params = {**sent_by_litellm(params), "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(model=handle, messages=messages, stream=True, **params))
    assert chunks[-1].usage.total_tokens > 0
    return whole_of(chunks, messages)


def by_litellm_async_stream(handle: ModelHandle, messages: Any, **params: Any) -> Any:
    params = sent_by_litellm(params)

    async def ask() -> list[Any]:
        stream = await litellm.acompletion(model=handle, messages=messages, stream=True, **params)
        return [chunk async for chunk in stream]

    return whole_of(asyncio.run(ask()), messages)


def whole_of(chunks: list[Any], messages: Any) -> Any:
    whole: Any = litellm.stream_chunk_builder(chunks, messages=messages)
    return whole.choices[0].message


def sent_by_litellm(params: dict[str, Any]) -> dict[str, Any]:
    """Whoever sends tools by litellm 1.106 has the package `mcp`, or goes past what needs it."""
    return params if importlib.util.find_spec("mcp") else {**params, "_skip_mcp_handler": True}


ROUTES: dict[str, Ask] = {
    "openai": by_openai,
    "openai stream": by_openai_stream,
    "litellm": by_litellm,
    "litellm async": by_litellm_async,
    "litellm stream": by_litellm_stream,
    "litellm async stream": by_litellm_async_stream,
}
ANY_ROUTE = pytest.mark.parametrize("route", ROUTES)
PROVIDERS = {"direct": "openai", "by litellm": "litellm_proxy"}


def adding(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> Any:
    """Calls the tool twice at once, and says what the tools said."""
    said = [message["content"] for message in messages if message["role"] == "tool"]
    if said:
        return f"the answer is {'+'.join(said)}."
    first = calling("add", a=1, b=2)["tool_calls"]
    return {"content": None, "tool_calls": [*first, {**first[0], "id": "call_1"}]}


def agent(ask: Ask, **params: Any) -> Any:
    """One that calls its tools till there is an answer."""

    def run(models: Any, question: str) -> str:
        messages: list[Any] = user(question)
        while True:
            message = ask(models["solve"], messages, tools=[ADD], **params)
            if not message.tool_calls:
                return str(message.content)
            assert message.content is None
            messages.append(message)
            for call in message.tool_calls:
                given = json.loads(call.function.arguments)
                messages.append(
                    {
                        "role": "tool",
                        "tool_call_id": call.id,
                        "content": str(given["a"] + given["b"]),
                    }
                )

    return once(run)


@pytest.fixture
def gateway(tmp_path: Any) -> Iterator[Gateway]:
    opened = Gateway(tmp_path / "cache", retries=0)
    yield opened
    opened.close()


def model_at(server: LoopbackServer, provider: str = "openai") -> Model:
    return Model(
        f"{provider}/tiny", "tiny", server.url, input_usd_per_million=2, output_usd_per_million=8,
        max_tokens=200,
    )  # fmt: skip


def run(gateway: Gateway, model: Model, pipeline: Any, study: str = "s") -> Any:
    session = gateway.session(study, Budget(usd=5))
    return bound(pipeline, session, {"tiny": model}).run({"question": "What is 1 + 2, twice?"})


def recording(seen: list[LoopbackRequest]) -> Callable[[LoopbackRequest], Behaviour]:
    def script(request: LoopbackRequest) -> Behaviour:
        seen.append(request)
        return Behaviour()

    return script


@ANY_ROUTE
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
def test_an_agent_calls_tools_and_again_from_the_cache(
    route: str, provider: str, gateway: Gateway
) -> None:
    seen: list[LoopbackRequest] = []
    with LoopbackServer(recording(seen), reply=adding) as server:
        model, pipeline = model_at(server, provider), agent(ROUTES[route], tool_choice="auto")
        first = run(gateway, model, pipeline)
        assert first.outputs == {"answer": "the answer is 3+3."}, first.failure
        again = run(gateway, model, pipeline, "another study")
        assert server.requests == 2
    assert again.outputs == first.outputs
    assert [call.finish_reason for step in again.steps for call in step.calls] == [
        "tool_calls", "stop",
    ]  # fmt: skip
    assert '"name": "add"' in first.steps[0].outputs["reply"]
    assert seen[0].params["tools"] == [ADD]
    assert seen[0].params["tool_choice"] == "auto"
    roles = [message["role"] for message in seen[1].messages]
    assert roles == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in seen[1].messages[1]["tool_calls"]] == ["call_0", "call_1"]
    assert "stream" not in seen[0].params


def test_all_routes_make_the_same_calls(gateway: Gateway) -> None:
    """So what one SDK has paid for, the others have from the cache."""
    with LoopbackServer(reply=adding) as server:
        for number, ask in enumerate(ROUTES.values()):
            found = run(gateway, model_at(server), agent(ask), f"{number}")
            assert found.outputs == {"answer": "the answer is 3+3."}
        assert server.requests == 2


SCHEMA = {"name": "sum", "schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
@pytest.mark.parametrize("route", ["openai", "litellm"])
def test_settings_of_tools_and_replies_are_sent(
    route: str, provider: str, gateway: Gateway
) -> None:
    seen: list[LoopbackRequest] = []
    sent: dict[str, Any] = {
        "tools": [ADD],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    }

    def ask(models: Any, question: str) -> str:
        return str(ROUTES[route](models["solve"], user(question), **sent).tool_calls[0].id)

    with LoopbackServer(recording(seen), reply=adding) as server:
        assert run(gateway, model_at(server, provider), once(ask)).outputs == {"answer": "call_0"}
    assert {name: seen[0].params[name] for name in sent} == sent


PIXEL = "data:image/png;base64," + "A" * 40_000
IMAGES = [PIXEL, "https://example.com/cat.png"]


@ANY_ROUTE
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
def test_images_arrive_with_what_is_said_of_them(
    route: str, provider: str, gateway: Gateway
) -> None:
    def look(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
        assert [part["type"] for part in messages[0]["content"]] == ["text", *["image_url"] * 2]
        return f"{[IMAGES.index(url) for url in images_of(messages)]}"

    def ask(models: Any, question: str) -> str:
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in IMAGES]
        said = [{"role": "user", "content": [{"type": "text", "text": question}, *parts]}]
        return str(ROUTES[route](models["solve"], said).content)

    with LoopbackServer(reply=look) as server:
        found = run(gateway, model_at(server, provider), once(ask))
    assert found.outputs == {"answer": "[0, 1]"}, found.failure


MALFORMED: dict[str, Any] = {
    "no json": {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{1"}},
    "no name": {"id": "c", "type": "function", "function": {"arguments": "{}"}},
}


# not litellm's streams: what it puts together from them leaves out calls without a name
@pytest.mark.parametrize("route", ["openai", "openai stream", "litellm", "litellm async"])
@pytest.mark.parametrize("call", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_calls_reach_the_code_as_they_are(
    route: str, call: Mapping[str, Any], gateway: Gateway
) -> None:
    def ask(models: Any, question: str) -> str:
        (got,) = ROUTES[route](models["solve"], user(question), tools=[ADD]).tool_calls
        return f"{got.function.name} {got.function.arguments}"

    with LoopbackServer(reply=lambda *_: {"content": None, "tool_calls": [call]}) as server:
        found = run(gateway, model_at(server), once(ask))
    told = call["function"]
    assert found.outputs == {"answer": f"{told.get('name')} {told['arguments']}"}, found.failure


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
@pytest.mark.parametrize("route", ["openai", "litellm"])
def test_a_server_that_takes_no_tools_is_named_with_the_parameter(
    route: str, provider: str, gateway: Gateway
) -> None:
    told = json.dumps({"error": {"message": "auto tool choice is not enabled", "code": 400}})
    with LoopbackServer(Behaviour(status=400, body=told)) as server:
        found = run(gateway, model_at(server, provider), agent(ROUTES[route]))
    assert found.failure.kind == "bad_request"
    assert found.failure.infrastructure
    for named in ("tiny", "auto tool choice is not enabled", "it was sent tools"):
        assert named in found.failure.message


@pytest.mark.parametrize("name", ["sim/hazel", "perplexity/sonar"])
def test_a_model_that_takes_no_tools_is_not_asked(
    name: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERPLEXITYAI_API_KEY", "none")
    session = gateway.session("s")
    program = bound(agent(by_openai), session, {name: Model(name)})
    failure = program.run({"question": "q"}).failure
    assert failure is not None
    assert (failure.kind, session.spent.calls) == ("unsupported_input", 0)
    assert failure.message.startswith(f"{name}: the parameter 'tools'")


def test_complete_has_no_tools_since_it_returns_text(gateway: Gateway) -> None:
    def ask(models: Any, question: str) -> str:
        return str(models["solve"].complete(user(question), tools=[ADD]))

    with LoopbackServer(reply=adding) as server:
        failure = run(gateway, model_at(server), once(ask)).failure
    assert "the parameter 'tools' needs a client that reads tool calls" in failure.message


def test_a_stream_without_options_has_no_usage(gateway: Gateway) -> None:
    def ask(models: Any, question: str) -> str:
        chunks = list(
            client(models["solve"]).chat.completions.create(
                model="any", messages=user(question), n=2, stream=True
            )
        )
        assert all(chunk.usage is None for chunk in chunks)
        ended = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
        said = [c.delta.content for chunk in chunks for c in chunk.choices if c.delta.content]
        return f"{ended} {said}"

    with LoopbackServer(reply=lambda *_: "yes") as server:
        found = run(gateway, model_at(server), once(ask))
    assert found.outputs == {"answer": "['stop', 'stop'] ['yes', 'yes']"}


@pytest.mark.parametrize("sdk", ["openai", "litellm"])
def test_the_usage_of_a_stream_is_what_the_provider_counted(sdk: str, gateway: Gateway) -> None:
    def ask(models: Any, question: str) -> str:
        handle = models["solve"]
        create = client(handle).chat.completions.create if sdk == "openai" else litellm.completion
        options = {"include_usage": True}
        chunks = list(
            create(model=handle, messages=user(question), stream=True, stream_options=options)
        )
        used = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
        return str([(each.prompt_tokens, each.completion_tokens) for each in used])

    with LoopbackServer(reply=lambda *_: "yes", count_tokens=len) as server:
        found = run(gateway, model_at(server), once(ask))
    ((call,),) = [step.calls for step in found.steps]
    assert found.outputs == {"answer": f"[({call.input_tokens}, {call.output_tokens})]"}
