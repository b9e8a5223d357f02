"""Which knobs a model has: whether litellm would send them to its provider, or drop them."""

from __future__ import annotations

import functools
from typing import Any

from pipelines.gateway.model import Model
from pipelines.gateway.provider import Knob
from pipelines.providers.litellm.litellm_import import load_litellm

_TRIED: dict[Knob, Any] = {
    "temperature": 0.0,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
}


def has_knob(model: Model, knob: Knob) -> bool:
    """Whether setting the knob changes what the model is asked.

    By litellm's tables, without a call; of custom providers nothing is known, so theirs may, but
    for forms of replies.
    """
    return _has_knob(model.name, model.api_base, knob)


@functools.cache
def _has_knob(name: str, api_base: str | None, knob: Knob) -> bool:
    litellm = load_litellm()
    short, provider, _, _ = litellm.get_llm_provider(name, api_base=api_base)
    if provider in litellm._custom_providers:
        return knob in ("temperature", "reasoning_effort")
    if knob == "response_schema":
        return bool(litellm.supports_response_schema(short, custom_llm_provider=provider))
    sent = functools.partial(
        litellm.utils.get_optional_params,
        model=short,
        custom_llm_provider=provider,
        drop_params=True,
    )
    return bool(sent(**{knob: _TRIED[knob]}) != sent())
