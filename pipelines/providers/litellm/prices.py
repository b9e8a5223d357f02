"""Prices by litellm's map."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.gateway.model import Model
from pipelines.providers.litellm.litellm_import import load_litellm

_USUAL = ("openai", "anthropic", "gemini", "mistral", "deepseek", "xai", "cohere_chat", "groq")
"""Providers to look at where a name's own is unknown, or has nothing like it."""
_INPUT_PRICE = r"input_cost_per_token(_above_\w+_tokens)?"
_OUTPUT_PRICE = r"output_cost_per_(reasoning_)?token(_above_\w+_tokens)?"


def listed_price(model: Model) -> tuple[float | None, float | None]:
    """Dollars for a token in and out, of the longest prompts; None where no price is listed.

    They are those of the model's service tier.
    """
    litellm = load_litellm()
    try:
        info = litellm.get_model_info(model.name)
    except Exception:
        # litellm raises a bare Exception for a model that its price map does not list
        return None, None
    listed = litellm.model_cost.get(info["key"], {})  # `info` says 0 where the list says nothing
    tiers = [listed, *(listed.get("tiered_pricing") or ())]
    ending = f"_{re.escape(model.tier)}" if model.tier else ""
    return _dearest(tiers, _INPUT_PRICE + ending), _dearest(tiers, _OUTPUT_PRICE + ending)


def listed_usd(model: Model, usage: Any) -> float | None:
    """What so much usage costs, with discounts for cached input; None if litellm can't tell.

    Args:
        model: as the user named it: a reply may name another one, or another service tier.
        usage: litellm's `Usage`.
    """
    try:
        parts = load_litellm().cost_per_token(
            model=model.name,
            service_tier=model.tier or None,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            usage_object=usage,
        )
    except Exception:  # usage may hold anything
        return None
    return float(sum(parts))


def nearest_model(name: str) -> str:
    """A hint at the listed name that is most like it, if one is."""
    if "/" not in name:
        name = name.replace(":", "/", 1)  # other libraries write `openai:gpt-4o`
    provider, wanted = name.partition("/")[0], name.rpartition("/")[2]
    ours = [known for known in _listed_names() if known.partition("/")[0] == provider]
    usual = [known for known in _listed_names() if known.partition("/")[0] in _USUAL]
    for names in (ours, usual):
        by_own_name = {
            known.rpartition("/")[2]: known for known in reversed(names) if known != name
        }
        if near := difflib.get_close_matches(wanted, by_own_name, n=1, cutoff=0.75):
            return f" (nearest known: {by_own_name[near[0]]!r})"
    return ""


@functools.cache
def _listed_names() -> tuple[str, ...]:
    """All names that litellm lists, with their providers; shorter ones first."""
    listed = load_litellm().model_cost.items()
    names = {n if "/" in n else f"{info.get('litellm_provider')}/{n}" for n, info in listed}
    return tuple(sorted(names, key=lambda name: (name.count("/"), len(name), name)))


def _dearest(tiers: Iterable[Mapping[str, Any]], price: str) -> float | None:
    """The price of the dearest tier: long prompts and reasoning may cost more."""
    prices = (v for tier in tiers for k, v in tier.items() if re.fullmatch(price, k))
    return max((p for p in prices if p is not None), default=None)
