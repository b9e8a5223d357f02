"""Replies and failures in OpenAI's form, as both entrances return them to the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.gateway.call import LMReply

STATUSES = {
    "rate_limited": 429,
    "server_error": 500,
    "timeout": 504,
    "connection": 503,
    "malformed_response": 502,
    "quota": 402,
    "authentication": 401,
}
"""The HTTP status by kind of failure; 400 for all others."""
CODES = {"context_window": "context_length_exceeded", "refusal": "content_policy_violation"}
"""OpenAI's code by kind of failure, where it has one."""


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
            {"index": index, "message": _message(reply), "finish_reason": reply.finish_reason}
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
    """The completion as a stream: each choice's message, then its finish reason; then usage."""
    base = {**whole, "object": "chat.completion.chunk"}
    usage = base.pop("usage")
    for choice in whole["choices"]:
        delta = dict(choice["message"])
        if "tool_calls" in delta:
            calls = enumerate(delta["tool_calls"])
            delta["tool_calls"] = [{**call, "index": index} for index, call in calls]
        for part, ended in ((delta, None), ({}, choice["finish_reason"])):
            chunk = {"index": choice["index"], "delta": part, "finish_reason": ended}
            yield {**base, "choices": [chunk]}
    if include_usage:
        yield {**base, "choices": [], "usage": usage}
