"""Calls through litellm, for every provider that it knows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.failures import MALFORMED
from pipelines.gateway.model import Model
from pipelines.gateway.prices import Price
from pipelines.gateway.provider import Knob, Provider, ProviderReply
from pipelines.gateway.secrets import key_of
from pipelines.providers.litellm import model_knobs
from pipelines.providers.litellm.litellm_import import OURS, load_litellm
from pipelines.providers.litellm.prices import listed_price, listed_usd, nearest_model
from pipelines.providers.litellm.provider_errors import as_failure
from pipelines.providers.openai_server import reply_of
from pipelines.providers.prices import address_problem, is_local, key_problem, resolve_price

_FINDS_CREDENTIALS = ("bedrock/", "sagemaker/", "vertex_ai/")
"""Providers whose credentials may also be in files, roles or parameters."""


class LitellmProvider(Provider):
    """Hands calls to litellm, once each."""

    limits = ""
    connects = True

    def problem_of(self, model: Model, *, keys: bool = True) -> str | None:
        litellm = load_litellm()
        try:
            litellm.get_llm_provider(model.name, api_base=model.api_base)
        except litellm.BadRequestError:
            return (
                f"no provider is known for model {model.name!r}{nearest_model(model.name)}; "
                "names are 'provider/model', such as 'openai/gpt-4o-mini'"
            )
        missing: list[str] = []
        elsewhere = model.name.startswith(_FINDS_CREDENTIALS)
        if keys and not (model.api_base or model.api_key_env or is_local(model) or elsewhere):
            missing = litellm.validate_environment(model=model.name)["missing_keys"]
        problems = [
            key_problem(model, missing) if keys else None,
            address_problem(model),
            model_knobs.problem_of_effort(model),
            super().problem_of(model),
        ]
        return "\n".join(filter(None, problems)) or None

    def price_of(self, model: Model) -> Price:
        return resolve_price(model, listed_price, nearest_model)

    def takes(self, model: Model, knob: Knob, value: Any) -> bool:
        return model_knobs.takes(model, knob, value)

    async def send(self, call: LMCall, timeout_s: float) -> ProviderReply:
        litellm = load_litellm()
        OURS.set(True)  # in this task alone
        sent: list[object] = []  # litellm logs a call just before it sends it
        asked = time.perf_counter()
        try:
            response = await litellm.acompletion(
                **_arguments(call), timeout=timeout_s, logger_fn=sent.append
            )
        except Exception as error:
            failure = as_failure(litellm, error, call, timeout_s, bool(sent))
        else:
            return _reply(call, response, time.perf_counter() - asked)
        raise failure  # outside the handler: a traceback would show what litellm's error quotes


LITELLM = LitellmProvider()


def _arguments(call: LMCall) -> dict[str, Any]:
    model = call.model
    arguments: dict[str, Any] = {
        # what bounds the call comes last, so that no parameter can lift it
        **model.params,
        **call.params,
        "model": model.name,
        "messages": [dict(message) for message in call.messages],
        "max_tokens": model.max_tokens,
        "seed": call.seed,
        "drop_params": True,
        "num_retries": 0,
        "max_retries": 0,
    }
    if arguments.get("tools"):
        arguments["_skip_mcp_handler"] = True  # which needs a package, and may run tools itself
    if call.temperature is not None:
        arguments["temperature"] = call.temperature
    if model.api_base:
        arguments["api_base"] = model.api_base
        arguments["api_key"] = "none"  # never send another provider's key to an own server
    if model.api_key_env:
        arguments["api_key"] = key_of(model.api_key_env) or "none"
    return arguments


def _reply(call: LMCall, response: Any, latency_s: float) -> ProviderReply:
    """The reply, checked: litellm lets `choices: []` and pages of HTML through."""
    try:
        reply = reply_of(call, response, latency_s)
        usage = getattr(response, "usage", None)
        if usage is None or call.model.has_own_price:
            return reply
        return replace(reply, listed_usd=listed_usd(call.model, usage))
    except CallFailed:
        raise
    except Exception as error:  # whatever a provider may send
        detail = f"the reply can't be read ({type(error).__name__}: {error})"
        raise MALFORMED.failure(call, detail) from None
