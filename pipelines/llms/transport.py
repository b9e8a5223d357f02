"""One call through litellm, and its reply checked."""

from __future__ import annotations

import math
import os
import time
from typing import Any

from pipelines.llms.call import CallFailed, LMCall, LMReply
from pipelines.llms.litellm_import import load_litellm
from pipelines.llms.model import Model
from pipelines.llms.prices import Price
from pipelines.llms.provider_errors import as_failure


def send(call: LMCall, price: Price, timeout_s: float) -> LMReply:
    """Make the call exactly once.

    Raises:
        CallFailed: it brought no answer; says whether a retry may help and whether it was billed.
    """
    litellm = load_litellm()
    started = time.perf_counter()
    try:
        response = litellm.completion(**_arguments(call), timeout=timeout_s)
    except Exception as error:
        raise as_failure(litellm, error) from error
    return _as_reply(response, call, price, time.perf_counter() - started)


def _arguments(call: LMCall) -> dict[str, Any]:
    model = call.model
    arguments: dict[str, Any] = {
        "model": model.name,
        "messages": [dict(message) for message in call.messages],
        "max_tokens": model.max_tokens,
        "seed": call.sample,
        "drop_params": True,
        "num_retries": 0,
        "max_retries": 0,
        **model.params,
        **call.params,
    }
    if call.temperature is not None:
        arguments["temperature"] = call.temperature
    if model.api_base:
        arguments["api_base"] = model.api_base
        arguments["api_key"] = "none"  # never send another provider's key to an own server
    if model.api_key_env:
        arguments["api_key"] = os.environ.get(model.api_key_env)
    return arguments


def _as_reply(response: Any, call: LMCall, price: Price, elapsed_s: float) -> LMReply:
    """Check what came back: litellm lets `choices: []` and pages of HTML through."""
    choices = getattr(response, "choices", None)
    usage = getattr(response, "usage", None)
    if not choices or usage is None or getattr(choices[0], "message", None) is None:
        raise CallFailed(
            "malformed_response", "the reply has no choices", retryable=True, billed=True
        )
    hidden = getattr(response, "_hidden_params", None) or {}
    return LMReply(
        text=choices[0].message.content or "",
        finish_reason=choices[0].finish_reason or "stop",
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        usd=_cost_of(call.model, usage, hidden, price),
        latency_s=float(hidden.get("declared_latency_s", elapsed_s)),
    )


def _cost_of(model: Model, usage: Any, hidden: dict[str, Any], price: Price) -> float:
    """What the provider charges: litellm's figure knows discounts, unless the user set prices."""
    listed = hidden.get("response_cost")
    own_price = model.input_usd_per_million is not None or model.output_usd_per_million is not None
    if listed is not None and not own_price:
        return float(listed)
    inputs = (usage.prompt_tokens or 0) * price.input_usd
    return math.fsum((inputs, (usage.completion_tokens or 0) * price.output_usd))
