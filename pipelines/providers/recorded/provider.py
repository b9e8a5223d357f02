"""The litellm provider `recorded/<model>`. Imports litellm, so it is imported late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litellm.exceptions import BadRequestError
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import ModelResponse

from pipelines.providers.recorded.recording import RecordingError
from pipelines.providers.recorded.replay import Replay, recording_for, replay


class RecordedProvider(CustomLLM):
    """Replays real answers. Sees the messages and the call's parameters, nothing else."""

    def completion(self, *_args: Any, **call: Any) -> ModelResponse:
        """Replay one call, as litellm hands it over.

        Raises:
            litellm.BadRequestError: the recording has no such answer; trying again won't help.
        """
        return _response(call["model"], call["messages"], call["optional_params"])

    async def acompletion(self, *_args: Any, **call: Any) -> ModelResponse:
        """The same, for `litellm.acompletion`."""
        return _response(call["model"], call["messages"], call["optional_params"])


def _response(
    model: str, messages: Sequence[Mapping[str, Any]], optional_params: Mapping[str, Any]
) -> ModelResponse:
    params = {**optional_params, **(optional_params.get("extra_body") or {})}
    try:
        reply = replay(recording_for(params), model, messages, params)
    except RecordingError as error:
        raise BadRequestError(str(error), model, "recorded") from error
    return _as_litellm(model, reply)


def _as_litellm(model: str, reply: Replay) -> ModelResponse:
    message = {"role": "assistant", "content": reply.text}
    response = ModelResponse(
        model=f"recorded/{model}",
        choices=[{"index": 0, "finish_reason": reply.finish_reason, "message": message}],
        usage={
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    )
    response._hidden_params["declared_latency_s"] = 0.0  # the recording holds no times
    return response
