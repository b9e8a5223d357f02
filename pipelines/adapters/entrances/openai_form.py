"""Replies and failures in OpenAI's form, as both entrances hand them to the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.gateway.call import CallFailed, LMReply

STATUSES = {
    "rate_limited": 429,
    "server_error": 500,
    "timeout": 504,
    "connection": 503,
    "malformed_response": 502,
    "quota": 402,
    "authentication": 401,
}
"""By kind of failure, the status that a client knows; 400 for all others."""
_CODES = {"context_window": "context_length_exceeded", "refusal": "content_policy_violation"}


def completion(model: str, replies: Sequence[LMReply]) -> dict[str, Any]:
    """OpenAI's chat completion; usage is the sum of all replies'."""
    inputs = sum(reply.input_tokens for reply in replies)
    outputs = sum(reply.output_tokens for reply in replies)
    return {
        "id": "chatcmpl-compound",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": index,
                "message": _message(reply),
                "finish_reason": reply.finish_reason,
            }
            for index, reply in enumerate(replies)
        ],
        "usage": {
            "prompt_tokens": inputs,
            "completion_tokens": outputs,
            "total_tokens": inputs + outputs,
        },
    }


def _message(reply: LMReply) -> dict[str, Any]:
    if not reply.tool_calls:
        return {"role": "assistant", "content": reply.text}
    calls = [dict(call) for call in reply.tool_calls]
    return {"role": "assistant", "content": reply.text or None, "tool_calls": calls}


def as_chunks(whole: Mapping[str, Any], include_usage: bool = False) -> Iterator[dict[str, Any]]:
    """The completion as a stream: of each choice what it says, then how it ended; then usage."""
    base = {**whole, "object": "chat.completion.chunk"}
    usage = base.pop("usage")
    for choice in whole["choices"]:
        delta = dict(choice["message"])
        if "tool_calls" in delta:
            calls = enumerate(delta["tool_calls"])
            delta["tool_calls"] = [{**call, "index": index} for index, call in calls]
        for part, ended in ((delta, None), ({}, choice["finish_reason"])):
            yield {
                **base,
                "choices": [{"index": choice["index"], "delta": part, "finish_reason": ended}],
            }
    if include_usage:
        yield {**base, "choices": [], "usage": usage}


def error(message: str, code: str) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": code, "code": code}}


def status_of(failure: CallFailed) -> int:
    """The status under which a client knows such a failure."""
    return STATUSES.get(failure.kind, 400)


def code_of(failure: CallFailed) -> str:
    """OpenAI's code for such a failure, where it has one."""
    return _CODES.get(failure.kind, failure.kind)
