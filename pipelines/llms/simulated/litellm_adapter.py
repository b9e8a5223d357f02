"""The litellm provider `sim/<model>`; the only file here that imports litellm."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from litellm.exceptions import BadRequestError, NotFoundError
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import ModelResponse

from pipelines.llms.simulated.catalogue import UnknownSimulatedModel, find_model
from pipelines.llms.simulated.provider import SimulatedReply, simulate

SLEEP_VARIABLE = "COMPOUND_OPTIMIZER_SIM_SLEEP"
"""Environment variable; where it is 1 at the time of a call, its latency is really slept."""


class SimulatedProvider(CustomLLM):
    """Hands a call to `simulate` and packs the reply as litellm wants it."""

    def completion(self, *_args: Any, **call: Any) -> ModelResponse:
        """Answer one call.

        Raises `litellm.NotFoundError` for an unknown model and `litellm.BadRequestError` for more
        than one sample per call.
        """
        reply = _reply(call["model"], call["messages"], call["optional_params"])
        if _sleeps(call["optional_params"]):
            time.sleep(reply.latency_s)
        return _response(call["model"], reply)

    async def acompletion(self, *_args: Any, **call: Any) -> ModelResponse:
        """Answer one call, sleeping without holding up others."""
        reply = _reply(call["model"], call["messages"], call["optional_params"])
        if _sleeps(call["optional_params"]):
            await asyncio.sleep(reply.latency_s)
        return _response(call["model"], reply)


def _reply(
    model: str, messages: Sequence[Mapping[str, Any]], optional_params: Mapping[str, Any]
) -> SimulatedReply:
    params = {**optional_params, **(optional_params.get("extra_body") or {})}
    if params.get("n") not in (None, 1):
        text = f"simulated models give one sample per call, but got n={params['n']!r}"
        raise BadRequestError(text, model, "sim")
    try:
        known = find_model(model)
    except UnknownSimulatedModel as error:
        raise NotFoundError(str(error), model, "sim") from error
    stop = params.get("stop") or ()
    return simulate(
        known,
        messages,
        temperature=params.get("temperature"),
        max_tokens=params.get("max_tokens") or params.get("max_completion_tokens"),
        seed=params.get("seed") or 0,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _sleeps(optional_params: Mapping[str, Any]) -> bool:
    asked = {**optional_params, **(optional_params.get("extra_body") or {})}.get("sim_sleep")
    return bool(asked) or os.environ.get(SLEEP_VARIABLE) == "1"


def _response(model: str, reply: SimulatedReply) -> ModelResponse:
    message = {"role": "assistant", "content": reply.text}
    response = ModelResponse(
        model=f"sim/{model}",
        choices=[{"index": 0, "finish_reason": reply.finish_reason, "message": message}],
        usage={
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    )
    response._hidden_params["declared_latency_s"] = reply.latency_s
    return response
