"""One call through litellm, and its reply checked."""

from __future__ import annotations

import functools
import logging
import math
import os
import time
from typing import Any

from pipelines.gateway.call import CallFailed, LMCall, LMReply
from pipelines.gateway.model import Model
from pipelines.gateway.prices import Price
from pipelines.gateway.races.cut_off import CutOff
from pipelines.gateway.secrets import redacted
from pipelines.providers.litellm.litellm_import import load_litellm
from pipelines.providers.litellm.provider_errors import as_failure

logger = logging.getLogger(__name__)


def send(call: LMCall, price: Price, timeout_s: float, cut: CutOff | None = None) -> LMReply:
    """Make the call exactly once. `timeout_s` bounds each wait for bytes, not their sum.

    With `cut` it can be cut off, which closes the connection.

    Raises:
        CallFailed: it brought no answer; says whether a retry may help and whether it was billed.
        WasCut: it was cut off.
    """
    litellm = load_litellm()
    arguments = {**_arguments(call), "timeout": timeout_s}
    started = time.perf_counter()
    try:
        if cut is None:
            response = litellm.completion(**arguments)
        else:
            response = cut.result(lambda: litellm.acompletion(**arguments))
    except Exception as error:
        failure = as_failure(litellm, error, call.model.api_key_env)
    else:
        return _as_reply(response, call, price, time.perf_counter() - started)
    raise failure  # outside the handler: a traceback would show what litellm's error quotes


def _arguments(call: LMCall) -> dict[str, Any]:
    model = call.model
    arguments: dict[str, Any] = {
        # what bounds the call comes last, so that no parameter can lift it
        **model.params,
        **call.params,
        "model": model.name,
        "messages": [dict(message) for message in call.messages],
        "max_tokens": model.max_tokens,
        "seed": call.sample,
        "drop_params": True,
        "num_retries": 0,
        "max_retries": 0,
    }
    if call.temperature is not None:
        arguments["temperature"] = call.temperature
    if model.api_base:
        arguments["api_base"] = model.api_base
        arguments["api_key"] = "none"  # never send another provider's key to an own server
    if model.api_key_env:
        arguments["api_key"] = os.environ.get(model.api_key_env) or "none"
    return arguments


def _as_reply(response: Any, call: LMCall, price: Price, elapsed_s: float) -> LMReply:
    """Check what came back: litellm lets `choices: []` and pages of HTML through."""
    choices = getattr(response, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    if choices is None or message is None:
        raise CallFailed(
            "malformed_response", "the reply has no choices", retryable=True, billed=True
        )
    hidden = getattr(response, "_hidden_params", None) or {}
    inputs, outputs, counted = _tokens(getattr(response, "usage", None), message, call)
    listed = hidden.get("response_cost") if counted else None
    return LMReply(
        text=redacted(message.content or "", call.model.api_key_env),
        finish_reason=choices[0].finish_reason or "stop",
        input_tokens=inputs,
        output_tokens=outputs,
        usd=_cost_of(call.model, inputs, outputs, listed, price),
        latency_s=float(hidden.get("declared_latency_s", elapsed_s)),
        latency_declared="declared_latency_s" in hidden,
    )


def _tokens(usage: Any, message: Any, call: LMCall) -> tuple[int, int, bool]:
    """Tokens in and out, and whether the provider counted them.

    Where it did not, they are bounded by the bytes: a reply without usage is not free.
    """
    inputs = getattr(usage, "prompt_tokens", None) or 0
    outputs = getattr(usage, "completion_tokens", None) or 0
    texts = (message.content, getattr(message, "reasoning_content", None))
    written = sum(len(text.encode()) for text in texts if text)
    if inputs and (outputs or not written):
        return inputs, outputs, True
    _warn_of_missing_usage(call.model.label)
    return (
        inputs or call.most_input_tokens, outputs or min(written, call.model.max_tokens), False
    )  # fmt: skip


@functools.cache
def _warn_of_missing_usage(label: str) -> None:
    """Once for each model."""
    logger.warning(
        "model %s does not say how many tokens it used; each byte is counted as one, "
        "which is more than it charges for",
        label,
    )


def _cost_of(model: Model, inputs: int, outputs: int, listed: Any, price: Price) -> float:
    """What the provider charges: litellm's figure knows discounts, unless the user set prices."""
    own_price = model.input_usd_per_million is not None or model.output_usd_per_million is not None
    if listed is not None and not own_price:
        return float(listed)
    return math.fsum((inputs * price.input_usd, outputs * price.output_usd))
