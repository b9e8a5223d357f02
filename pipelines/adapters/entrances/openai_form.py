"""Replies and failures in OpenAI's form, as both entrances hand them to the code."""

from __future__ import annotations

from collections.abc import Sequence
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
                "message": {"role": "assistant", "content": reply.text},
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


def as_chunk(whole: dict[str, Any]) -> dict[str, Any]:
    """The completion as the one chunk of a stream."""
    choices = [
        {"index": c["index"], "delta": c["message"], "finish_reason": c["finish_reason"]}
        for c in whole["choices"]
    ]
    return {**whole, "object": "chat.completion.chunk", "choices": choices}


def error(message: str, code: str) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": code, "code": code}}


def status_of(failure: CallFailed) -> int:
    """The status under which a client knows such a failure."""
    return STATUSES.get(failure.kind, 400)


def code_of(failure: CallFailed) -> str:
    """OpenAI's code for such a failure, where it has one."""
    return _CODES.get(failure.kind, failure.kind)
