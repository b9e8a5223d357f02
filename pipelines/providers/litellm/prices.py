"""Which models can be called, and at what price: found out before the first call."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError, Price
from pipelines.providers.litellm.litellm_import import load_litellm
from pipelines.providers.simulated.catalogue import UnknownSimulatedModel, find_model

_INPUT_PRICE = re.compile(r"input_cost_per_token(_above_\w+_tokens)?")
_OUTPUT_PRICE = re.compile(r"output_cost_per_(reasoning_)?token(_above_\w+_tokens)?")


def price_of(model: Model) -> Price:
    """What the model's tokens cost: its own figures, else litellm's.

    Raises:
        ModelError: neither knows a price.
    """
    known = _listed_price(model.name)
    given = (model.input_usd_per_million, model.output_usd_per_million)
    prices = [
        own / 1e6 if own is not None else listed for own, listed in zip(given, known, strict=True)
    ]
    if None in prices:
        raise ModelError(
            f"no price is known for model {model.name!r}{_nearest_model(model.name)}; give it: "
            f"Model({model.name!r}, input_usd_per_million=..., output_usd_per_million=...), "
            "0 for a model that costs nothing"
        )
    return Price(*(float(price) for price in prices if price is not None))


def check_models(models: Iterable[Model]) -> None:
    """Everything about the models that can be found out without a call.

    Raises:
        ModelError: an unknown provider, a missing API key, or no price; all of them are named.
    """
    problems = [problem for model in models if (problem := _problem_of(model))]
    if problems:
        raise ModelError("\n".join(problems))


def _listed_price(name: str) -> tuple[float | None, float | None]:
    litellm = load_litellm()
    try:
        info = litellm.get_model_info(name)
    except Exception:
        # litellm raises a bare Exception for a model that its price map does not list
        return None, None
    listed = litellm.model_cost.get(info["key"], {})  # `info` says 0 where the list says nothing
    tiers = [listed, *(listed.get("tiered_pricing") or ())]
    return _dearest(tiers, _INPUT_PRICE), _dearest(tiers, _OUTPUT_PRICE)


def _dearest(tiers: Iterable[Mapping[str, Any]], price: re.Pattern[str]) -> float | None:
    """The price of the dearest tier: long prompts and reasoning may cost more."""
    prices = (v for tier in tiers for k, v in tier.items() if price.fullmatch(k))
    return max((p for p in prices if p is not None), default=None)


def _nearest_model(name: str) -> str:
    listed = load_litellm().model_cost
    provider = name.partition("/")[0]
    candidates = [n for n in listed if n.startswith(provider + "/")]
    candidates += [
        f"{provider}/{n}"
        for n, info in listed.items()
        if info.get("litellm_provider") == provider and "/" not in n
    ]
    nearest = difflib.get_close_matches(name, candidates or list(listed), n=1, cutoff=0.5)
    return f" (nearest known: {nearest[0]!r})" if nearest else ""


def _problem_of(model: Model) -> str | None:
    litellm = load_litellm()
    try:
        litellm.get_llm_provider(model.name, api_base=model.api_base)
    except litellm.BadRequestError:
        return (
            f"no provider is known for model {model.name!r}{_nearest_model(model.name)}; "
            "names are 'provider/model', such as 'openai/gpt-4o-mini'"
        )
    if model.name.startswith("sim/"):
        try:
            find_model(model.name)
        except UnknownSimulatedModel as error:
            return str(error)
    problems = []
    missing = _missing_keys(litellm, model)
    if missing:
        problems.append(f"model {model.name!r} needs an API key: set {' or '.join(missing)}")
    try:
        price_of(model)
    except ModelError as error:
        problems.append(str(error))
    return "\n".join(problems) or None


def _missing_keys(litellm: Any, model: Model) -> list[str]:
    if model.api_key_env:
        return [] if os.environ.get(model.api_key_env) else [model.api_key_env]
    if model.api_base:
        return []
    missing: list[str] = litellm.validate_environment(model=model.name)["missing_keys"]
    return missing
