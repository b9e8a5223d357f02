"""Providers by the prefix of a model's name. See `gateway.provider.Provider`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError, Price
from pipelines.gateway.provider import BatchEndpoint, Knob, Provider

DIRECT = ("openai", "hosted_vllm", "lm_studio", "llamafile", "openai_like", "custom_openai")
"""Prefixes of servers of OpenAI's form, which are asked directly where their address is known."""


def provider_of(model: Model) -> Provider:
    """The provider of a model; imported when it is first needed."""
    prefix = model.name.partition("/")[0]
    if prefix == "sim":
        from pipelines.providers.simulated.simulated_provider import SIMULATED

        return SIMULATED
    if prefix == "recorded":
        from pipelines.providers.recorded.provider import RECORDED

        return RECORDED
    if prefix in DIRECT and model.address:
        from pipelines.providers.openai_server import OPENAI_SERVER

        return OPENAI_SERVER
    from pipelines.providers.litellm.provider import LITELLM

    return LITELLM


def batch_endpoint() -> BatchEndpoint:
    """Sends batches; imported when it is first needed."""
    from pipelines.providers.litellm.batches import LITELLM_BATCHES

    return LITELLM_BATCHES


def is_known_elsewhere(model: Model) -> bool:
    """Whether other libraries can call it by the same name."""
    return model.name.partition("/")[0] not in ("sim", "recorded")


def check_models(models: Iterable[Model], *, keys: bool = True) -> None:
    """Everything about the models that can be found out without a call.

    Args:
        models: which.
        keys: whether they are to be called, which takes API keys.

    Raises:
        ModelError: an unknown provider, a missing API key, or no price; all of them are named.
    """
    problems = [problem for model in models if (problem := _problem_of(model, keys))]
    if problems:
        raise ModelError("\n".join(problems))


def _problem_of(model: Model, keys: bool) -> str | None:
    if "/" not in model.name and not model.api_base:  # before litellm takes its seconds to load
        from pipelines.providers.simulated import UnknownSimulatedModel, find_model

        with suppress(UnknownSimulatedModel):
            known = find_model(model.name)
            return f"no provider is known for model {model.name!r}; nearest: 'sim/{known.name}'"
    return provider_of(model).problem_of(model, keys=keys)


def price_of(model: Model) -> Price:
    """What the model's tokens cost: its own figures, else what its provider lists.

    Raises:
        ModelError: no price is known.
    """
    return provider_of(model).price_of(model)


def limits_of(models: Iterable[Model]) -> str:
    """What none of the models can do by their nature; empty if some have no such limits."""
    limits = dict.fromkeys(provider_of(model).limits for model in models)
    return "" if "" in limits else "; ".join(limits)


def takes(model: Model, knob: Knob, value: Any) -> bool:
    """Whether a value of a knob changes what the model is asked, as far as is known."""
    return provider_of(model).takes(model, knob, value)
