"""Requests in OpenAI's form: what is sent on, what is refused, and under which name."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.adapters.entrances.chat_request import ChatRequest, RefusedRequest, chat_request
from pipelines.gateway.model import Model
from tests.pipelines.adapters.callables.agents import user


def request(**params: Any) -> ChatRequest:
    return chat_request(user("hi"), params)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (
            {"functions": [{"name": "f"}]},
            "'functions' can't be sent through the gateway, its present",
        ),
        ({"tools": [object()]}, "has no JSON"),
        ({"response_format": ChatRequest}, "ChatRequest'> has no JSON"),
        ({"logprobs": True}, "'logprobs'"),
        ({"modalities": ["text", "audio"]}, "'modalities'"),
        ({"temprature": 1}, "'temprature'; nearest: 'temperature'"),
        ({"temperature": 3}, "0 <= temperature <= 2 must hold, but got 3"),
        ({"n": 0}, "`n >= 1` must hold"),
        ({"seed": "x"}, "`seed >= 0` must hold (a whole number), but got 'x'"),
        ({"extra_body": {"max_tokens": 9}}, "'max_tokens'"),
    ],
)
def test_a_refused_parameter_is_named(params: dict[str, Any], named: str) -> None:
    with pytest.raises(RefusedRequest) as raised:
        request(**params)
    assert named in str(raised.value)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ("hi", "messages must be a list"),
        ([{"role": "function", "content": "42"}], "messages[0] must be a message of one of"),
        ([{"role": "assistant", "tool_calls": ["f"]}], "messages[0] must have a list of calls"),
        ([{"role": "assistant", "tool_calls": [object()]}], "messages[0] is no plain JSON"),
        ([{"role": "assistant", "function_call": {"name": "f"}}], "has 'function_call'"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[0] must have an image",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]}],
            "begins with one of ('data:image/', 'http://', 'https://'), but got \"{'url': 'a.png'}",
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
            "messages[0] has a part of type 'input_audio'",
        ),
        ([{"role": "user", "content": 5}], "neither text nor parts"),
    ],
)
def test_a_refused_message_is_named(messages: Any, named: str) -> None:
    with pytest.raises(RefusedRequest) as raised:
        chat_request(messages, {})
    assert named in str(raised.value)


def test_what_is_none_or_empty_is_not_given() -> None:
    assert request(tools=None, temperature=None, n=None, logprobs=False, functions=[]) == request()


def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    made = chat_request([{"role": "user", "content": parts, "name": "ann", "x": 1}], {})
    assert made.messages == ({"role": "user", "name": "ann", "content": "a\nb"},)


def test_the_config_goes_before_the_code_and_the_models_bound_holds() -> None:
    model = Model("sim/alder", max_tokens=100)
    made = request(temperature=0.3, max_tokens=50, reasoning_effort="high", stop=["."])
    own = made.call(model, None, {})
    assert (own.temperature, own.model.max_tokens) == (0.3, 50)
    assert own.params == {"reasoning_effort": "high", "stop": ["."]}
    tuned = made.call(model, 1.0, {"reasoning_effort": "low"})
    assert (tuned.temperature, tuned.params["reasoning_effort"]) == (1.0, "low")
    assert request(max_completion_tokens=500).call(model, None, {}).model.max_tokens == 100


def test_inputs_are_the_request_again() -> None:
    made = request(temperature=0.3, seed=4, n=2, max_tokens=50, top_p=0.5)
    params = made.inputs["params"]
    assert params == {"temperature": 0.3, "seed": 4, "max_tokens": 50, "top_p": 0.5}
    again = chat_request(made.inputs["messages"], params)
    assert (again.inputs, again.count) == (made.inputs, 1)
    assert "params" not in request().inputs


def test_messages_of_tools_and_of_images_are_sent_as_they_are() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    image = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"},
    }
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c"},
    ]
    made = chat_request(messages, {"tools": [{"type": "function"}], "tool_choice": "required"})
    assert list(made.messages) == messages
    assert made.params == {"tools": [{"type": "function"}], "tool_choice": "required"}
    again = chat_request(made.inputs["messages"], made.inputs["params"])
    assert again == made
