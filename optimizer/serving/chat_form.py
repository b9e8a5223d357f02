"""OpenAI's chat completions as a way to call a pipeline: requests to inputs, outputs to replies."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optimizer.serving.served_run import Served
from pipelines import Trace
from pipelines.adapters.entrances.chat_request import RefusedRequest, chat_request

_REFUSED = {"tools": "it calls none", "functions": "it calls none", "audio": "it writes text"}
"""Parameters that ask for what no pipeline answers with."""
_MOST_ATTEMPTS = 8
"""At reading an object from a text, which takes time in proportion to what follows."""
_LONG = 1 << 20
"""Characters of a text from which on there is only one attempt."""


def inputs_of(fields: Mapping[str, Any], types: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pipeline's inputs: `inputs` of the body, else those in the user's last message.

    With one input that is the message, or its value as JSON if its type is not text, or a message
    that is a JSON object of the input alone. With several it is a JSON object that has them all,
    which text may surround, with few other braces before it. Earlier messages and those of the
    system are not read: prompts are the pipeline's own.

    Raises:
        RefusedRequest: names the parameter or message, and what is wanted.
    """
    for name, why in _REFUSED.items():
        if fields.get(name):
            raise RefusedRequest(f"{name!r} can't be asked of a pipeline: {why}")
    if fields.get("n") not in (None, 1):
        raise RefusedRequest(f"n must be 1, but got {fields['n']!r}: a pipeline has one answer")
    if (given := fields.get("inputs")) is not None:
        if not isinstance(given, Mapping):
            raise RefusedRequest(f"inputs must be an object of {_listed(types)}, not {given!r}")
        return given
    text = _last_message(fields.get("messages"))
    if len(types) != 1:
        if (found := _object_with(types.keys(), text)) is not None:
            return found
        raise RefusedRequest(
            f"the last message of the user must be a JSON object of {_listed(types)}, or the body "
            f"must have them as 'inputs': OpenAI's client sends these as extra_body"
        )
    ((name, kind),) = types.items()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {name: text}
    if isinstance(value, dict) and value.keys() == types.keys():
        return value
    return {name: text if kind in (str, None) else value}


def identity(model: str) -> dict[str, Any]:
    """The fields that a completion, or all chunks of one stream, are known by."""
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


def completion(
    known_by: Mapping[str, Any], served: Served, trace: Trace, *, as_json: bool
) -> dict[str, Any]:
    """A chat completion of the final prediction; `confidence` and `usd` are fields beside OpenAI's.

    `usage` and `usd` are sums over all calls of the run, those from the cache included.
    """
    inputs, outputs = trace.input_tokens, trace.output_tokens
    message = {"role": "assistant", "content": content_of(served.outputs, as_json=as_json)}
    return {
        **known_by,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": inputs,
            "completion_tokens": outputs,
            "total_tokens": inputs + outputs,
        },
        "confidence": served.confidence,
        "usd": trace.usd,
    }


def provisional_chunk(
    known_by: Mapping[str, Any], served: Served, *, as_json: bool
) -> dict[str, Any]:
    """A chunk whose delta is empty, so that clients which join deltas read the final answer alone.

    The provisional answer is in a field of its own, `provisional`.
    """
    content = content_of(served.outputs, as_json=as_json)
    return {
        **known_by,
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {}, "finish_reason": None}],
        "provisional": {"content": content, "confidence": served.confidence},
    }


def content_of(outputs: Mapping[str, Any], *, as_json: bool) -> str:
    """The only output, if it is text; else JSON of its value, or an object of all."""
    value: Any = outputs
    if len(outputs) == 1 and not as_json:
        (value,) = outputs.values()
    return value if isinstance(value, str) else json_text(value)


def json_text(value: Any) -> str:
    """The value as JSON; what JSON has no form for is text."""
    return json.dumps(value, ensure_ascii=False, default=str)


def wants_json(fields: Mapping[str, Any]) -> bool:
    """Whether `response_format` asks for JSON, whose object then has the outputs by name."""
    wanted = fields.get("response_format")
    return isinstance(wanted, Mapping) and wanted.get("type") in ("json_object", "json_schema")


def _last_message(messages: Any) -> str:
    """The text of the user's last message."""
    if messages is None:
        raise RefusedRequest("the body must have 'messages', or the pipeline's 'inputs'")
    asked: Sequence[Mapping[str, Any]] = chat_request(messages, {}).messages
    texts = [each["content"] for each in asked if each["role"] == "user"]
    if not texts:
        raise RefusedRequest("messages must have one of the role 'user'")
    if not isinstance(texts[-1], str):
        raise RefusedRequest("images go into the body's 'inputs', by the name of the input field")
    return texts[-1]


def _object_with(names: Collection[str], text: str) -> dict[str, Any] | None:
    """The first JSON object in the text that has these keys; None if there is none."""
    start = text.find("{")
    for _ in range(_MOST_ATTEMPTS if len(text) < _LONG else 1):
        if start < 0:
            break
        try:
            found, end = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            if found.keys() >= set(names):
                return dict(found)
        start = text.find("{", end)
    return None


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, names))
