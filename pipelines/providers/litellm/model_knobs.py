"""Which settings a model takes: whether litellm would send them to its provider, or drop them."""

from __future__ import annotations

import functools
from typing import Any

from pipelines.gateway.model import Model
from pipelines.gateway.provider import Knob
from pipelines.providers.litellm.litellm_import import load_litellm

_TOOL = {"type": "function", "function": {"name": "any", "parameters": {"type": "object"}}}


def takes(model: Model, knob: Knob, value: Any) -> bool:
    """Whether a value changes what the model is asked, and leaves it room for an answer.

    By litellm's tables, without a call; of custom providers nothing is known, so theirs may, but
    for a `response_format`.
    """
    if knob == "response_format":
        return _takes_format(model.name, model.api_base, value["type"] == "json_schema")
    if knob == "tools":
        value = True  # whichever they are
        if _has_no_function_calling(model.name):
            return False
    sent = _sent(model.name, model.api_base, model.max_tokens, knob, value)
    if sent is None:
        return True
    plain = _sent(model.name, model.api_base, model.max_tokens, knob, None)
    return sent != plain and _thoughts(sent) < model.max_tokens


@functools.cache
def _takes_format(name: str, api_base: str | None, is_schema: bool) -> bool:
    litellm = load_litellm()
    short, provider, _, _ = litellm.get_llm_provider(name, api_base=api_base)
    if is_schema:
        return bool(litellm.supports_response_schema(short, custom_llm_provider=provider))
    known = litellm.get_supported_openai_params(short, custom_llm_provider=provider)
    return "response_format" in (known or ())


def _has_no_function_calling(name: str) -> bool:
    """Whether litellm's map says so; of a quarter of its models it says neither."""
    listed = load_litellm().model_cost
    info = listed.get(name) or listed.get(name.partition("/")[2]) or {}
    return info.get("supports_function_calling") is False


def problem_of_effort(model: Model) -> str | None:
    """The problem where the reasoning effort leaves no room for an answer, else None."""
    effort = model.params.get("reasoning_effort")
    if not isinstance(effort, str):
        return None
    sent = _sent(model.name, model.api_base, model.max_tokens, "reasoning_effort", effort)
    thoughts = _thoughts(sent or {})
    if thoughts < model.max_tokens:
        return None
    return (
        f"model {model.name!r} may think for {thoughts} tokens at reasoning_effort={effort!r}: "
        f"Model(..., max_tokens=...) must be more than that, but is {model.max_tokens}"
    )


@functools.cache
def _sent(
    name: str, api_base: str | None, max_tokens: int, knob: Knob, value: Any
) -> dict[str, Any] | None:
    """The parameters that the provider would be sent; None of a custom one."""
    litellm = load_litellm()
    short, provider, _, _ = litellm.get_llm_provider(name, api_base=api_base)
    if provider in litellm._custom_providers:
        return None
    chosen = {} if value is None else {knob: [_TOOL] if knob == "tools" else value}
    params: dict[str, Any] = litellm.utils.get_optional_params(
        model=short, custom_llm_provider=provider, drop_params=True, max_tokens=max_tokens, **chosen
    )
    return params


def _thoughts(sent: dict[str, Any]) -> int:
    """The tokens that the model may think for, where that is counted within `max_tokens`."""
    claude, gemini = sent.get("thinking") or {}, sent.get("thinkingConfig") or {}
    return int(claude.get("budget_tokens") or gemini.get("thinkingBudget") or 0)
