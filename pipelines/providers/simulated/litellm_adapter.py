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

from pipelines.providers.simulated.catalogue import UnknownSimulatedModel, find_model
from pipelines.providers.simulated.provider import SimulatedReply, simulate

SLEEP_VARIABLE = "COMPOUND_OPTIMIZER_SIM_SLEEP"
"""Environment variable; where it is 1 at the time of a call, its latency is really slept."""


class SimulatedProvider(CustomLLM):
    """Hands a call to `simulate` and packs the reply as litellm wants it."""

    def completion(self, *_args: Any, **call: Any) -> ModelResponse:
        """Answer one call.

        Raises `litellm.NotFoundError` for an unknown model and `litellm.BadRequestError` for more
        than one sample per call, or a reasoning effort that the model does not have.
        """
        params = _params(call)
        reply = _reply(call["model"], call["messages"], params)
        if _sleeps(params):
            time.sleep(reply.latency_s)
        return _response(call["model"], reply)

    async def acompletion(self, *_args: Any, **call: Any) -> ModelResponse:
        """Answer one call, sleeping without holding up others."""
        params = _params(call)
        reply = _reply(call["model"], call["messages"], params)
        if _sleeps(params):
            await asyncio.sleep(reply.latency_s)
        return _response(call["model"], reply)


def _params(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call's parameters.

    litellm drops `reasoning_effort` from the parameters of custom providers (or refuses it, without
    `drop_params` or `allowed_openai_params`); what the caller gave still stands in its log.
    """
    params = dict(call["optional_params"])
    given = getattr(call.get("logging_obj"), "model_call_details", {})
    params.setdefault("reasoning_effort", given.get("reasoning_effort"))
    params |= params.get("extra_body") or {}
    effort = params["reasoning_effort"]
    if isinstance(effort, Mapping):  # litellm's other form: {"effort": "low", "summary": "auto"}
        params["reasoning_effort"] = effort.get("effort")
    return params


def _reply(
    model: str, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]
) -> SimulatedReply:
    if params.get("n") not in (None, 1):
        text = f"simulated models give one sample per call, but got n={params['n']!r}"
        raise BadRequestError(text, model, "sim")
    try:
        known = find_model(model)
    except UnknownSimulatedModel as error:
        raise NotFoundError(str(error), model, "sim") from error
    try:
        known.effort(params["reasoning_effort"])
    except ValueError as error:
        raise BadRequestError(str(error), model, "sim") from error
    stop = params.get("stop") or ()
    return simulate(
        known,
        messages,
        temperature=params.get("temperature"),
        max_tokens=params.get("max_tokens") or params.get("max_completion_tokens"),
        seed=params.get("seed") or 0,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        reasoning_effort=params["reasoning_effort"],
    )


def _sleeps(params: Mapping[str, Any]) -> bool:
    return bool(params.get("sim_sleep")) or os.environ.get(SLEEP_VARIABLE) == "1"


def _response(model: str, reply: SimulatedReply) -> ModelResponse:
    message = {"role": "assistant", "content": reply.text}
    details = {"reasoning_tokens": reply.reasoning_tokens}
    response = ModelResponse(
        model=f"sim/{model}",
        choices=[{"index": 0, "finish_reason": reply.finish_reason, "message": message}],
        usage={
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
            **({"completion_tokens_details": details} if reply.reasoning_tokens else {}),
        },
    )
    response._hidden_params["declared_latency_s"] = reply.latency_s
    # as litellm would reckon it, which takes it longer than the whole reply, and twice per call
    response._hidden_params["response_cost"] = _usd(model, reply)
    return response


def _usd(model: str, reply: SimulatedReply) -> float:
    known = find_model(model)
    inputs = reply.input_tokens * (known.input_usd_per_million / 1e6)
    return inputs + reply.output_tokens * (known.output_usd_per_million / 1e6)
