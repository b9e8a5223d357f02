"""Converts between `dspy.LM` and `Model`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import dspy
from dspy.utils.exceptions import LMConfigurationError

from pipelines.errors import PipelineError
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from pipelines.gateway.secrets import keep_key, key_of
from pipelines.providers import price_of

_OF_DSPY = frozenset(
    {"cache", "num_retries", "rollout_id", "temperature", "max_tokens", "max_completion_tokens"}
    | {"api_base", "base_url", "api_key", "input_cost_per_token", "output_cost_per_token"}
)
"""What `dspy.LM.kwargs` holds besides the model's own parameters, or `Model` has a field for."""


_UNKEPT: tuple[tuple[str, Any, str], ...] = (
    ("model_type", "chat", "models are asked for chat completions"),
    ("callbacks", [], "calls go through the gateway; optimize(on_trial=...) reports trials"),
    ("use_developer_role", False, "instructions are sent in the role 'system'"),
    ("prompt_cache", None, "providers decide themselves which prompts they cache"),
)
"""Settings that calls through the gateway do not have: name, usual value, and why."""


class Fallback(NamedTuple):
    """The model of predictors without an LM."""

    model: Model
    temperature: float | None = None


def configured_lm() -> Fallback | None:
    """The LM of `dspy.configure`; errors as `as_model`."""
    lm = dspy.settings.lm
    if lm is None:
        return None
    return Fallback(as_model(lm, "dspy.settings.lm"), lm.kwargs.get("temperature"))


def as_model(lm: dspy.BaseLM, where: str) -> Model:
    """The model of a DSPy LM, without its temperature, which is a knob.

    Its key stays in memory; the model names a variable in its place. Raises PipelineError, with
    `where` for its owner, if it goes past the gateway or has a setting that calls there lack.
    """
    if type(lm) is not dspy.LM or not isinstance(lm.engine, str):
        own = "dspy.LM with an engine of its own" if type(lm) is dspy.LM else type(lm).__name__
        raise PipelineError(
            f"{where} has a {own}, which goes past the gateway: a plain dspy.LM, or a name or "
            "Model(...) in `models`, can be asked"
        )
    for name, usual, instead in _UNKEPT:
        given = getattr(lm, name, None) or lm.kwargs.get(name) or usual
        if given != usual:
            shown = f"={given!r}" if isinstance(given, str | bool) else "=..."
            raise PipelineError(f"{where} has an LM with {name}{shown}: {instead}; remove it")
    params = {k: v for k, v in lm.kwargs.items() if k not in _OF_DSPY and v is not None}
    address = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    fields: dict[str, Any] = {"api_base": address, "params": params}
    if key := lm.kwargs.get("api_key"):
        fields["api_key_env"] = keep_key(key, _key_variable(lm.model, address))
    for way in ("input", "output"):
        if (usd := lm.kwargs.get(f"{way}_cost_per_token")) is not None:
            fields[f"{way}_usd_per_million"] = float(f"{1e6 * usd:.12g}")
    if most := lm.kwargs.get("max_tokens") or lm.kwargs.get("max_completion_tokens"):
        fields["max_tokens"] = most
    try:
        return Model(lm.model, **fields)
    except ValueError as error:
        raise PipelineError(f"{where} has an LM that can't be tuned: {error}") from None


def _key_variable(name: str, address: str | None) -> str:
    """The variable to name for a model's key; never a hosted provider's for another server."""
    provider, slash, _ = name.partition("/")
    known = slash and not address
    return re.sub(r"\W", "_", provider).upper() + "_API_KEY" if known else "OWN_SERVER_API_KEY"


def as_consulted(lm: dspy.BaseLM, role: str) -> Model:
    """The model of a diagnoser's or judge's LM; errors as `as_model`, or if it has a
    temperature."""
    if (temperature := lm.kwargs.get("temperature")) is not None:
        raise PipelineError(
            f"{role} has an LM with temperature={temperature:g}, but its questions set their own "
            "temperature: remove it"
        )
    return as_model(lm, role)


def as_lm(model: Model, temperature: float | None, params: Mapping[str, Any]) -> dspy.LM:
    """A `dspy.LM` that asks the same of the same model, without this library.

    OpenAI's reasoning models get neither temperature nor `max_tokens`: DSPy refuses temperatures
    other than 1 and less than 16,000 tokens.
    """
    kwargs = {**model.params, **params}
    if model.api_base:
        kwargs["api_base"] = model.api_base
    if model.has_own_price:
        with suppress(ModelError):  # the other half of the price may be listed nowhere
            cost = price_of(model)  # half a price would be ignored
            kwargs |= {
                "input_cost_per_token": cost.input_usd,
                "output_cost_per_token": cost.output_usd,
            }
    if key := key_of(model.api_key_env):
        kwargs["api_key"] = key  # in no .json that DSPy saves
    try:
        return dspy.LM(model.name, temperature=temperature, max_tokens=model.max_tokens, **kwargs)
    except LMConfigurationError:
        return dspy.LM(model.name, **kwargs)
