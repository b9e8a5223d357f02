"""Converts between `dspy.LM` and `Model`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import dspy
from dspy.utils.exceptions import LMConfigurationError

from pipelines.errors import PipelineError
from pipelines.gateway.model import Model

_OF_DSPY = frozenset(
    {"cache", "num_retries", "rollout_id", "temperature", "max_tokens", "max_completion_tokens"}
    | {"api_base", "api_key"}
)
"""What `dspy.LM.kwargs` holds besides the model's own parameters, or `Model` has a field for."""


class Fallback(NamedTuple):
    """The model of predictors without an LM."""

    model: Model
    temperature: float | None = None


def configured_lm() -> Fallback | None:
    """What `dspy.configure` says; errors as `as_model`."""
    lm = dspy.settings.lm
    if lm is None:
        return None
    return Fallback(as_model(lm, "dspy.settings.lm"), lm.kwargs.get("temperature"))


def as_model(lm: dspy.BaseLM, where: str) -> Model:
    """The model of a DSPy LM; its temperature is a knob, and left out.

    Args:
        lm: the LM.
        where: the owner, for errors.

    Raises:
        PipelineError: litellm could not call it by its name, or it holds an API key.
    """
    if type(lm) is not dspy.LM or not isinstance(lm.engine, str):
        own = "dspy.LM with an engine of its own" if type(lm) is dspy.LM else type(lm).__name__
        raise PipelineError(
            f"{where} asks a {own}, which goes past the gateway: give it a plain dspy.LM, or none "
            "and name the models in `models`"
        )
    if lm.kwargs.get("api_key"):
        raise PipelineError(
            f"{where} has an LM with an api_key of its own, which must not be written down: put "
            "the key into its environment variable, or give "
            f"Model({lm.model!r}, api_key_env='...') in `models` and take the LM away"
        )
    params = {k: v for k, v in lm.kwargs.items() if k not in _OF_DSPY and v is not None}
    told: dict[str, Any] = {"api_base": lm.kwargs.get("api_base"), "params": params}
    most = lm.kwargs.get("max_tokens") or lm.kwargs.get("max_completion_tokens")
    if most:
        told["max_tokens"] = most
    try:
        return Model(lm.model, **told)
    except ValueError as error:
        raise PipelineError(f"{where} has an LM that can't be tuned: {error}") from None


def as_lm(model: Model, temperature: float | None, params: Mapping[str, Any]) -> dspy.LM:
    """A `dspy.LM` that asks the same of the same model, without this library.

    OpenAI's reasoning models get neither temperature nor `max_tokens`: DSPy refuses temperatures
    other than 1 and less than 16,000 tokens.
    """
    told = {**model.params, **params}
    if model.api_base:
        told["api_base"] = model.api_base
    if model.api_key_env and model.api_key_env in os.environ:
        told["api_key"] = os.environ[model.api_key_env]  # in no .json that DSPy saves
    try:
        return dspy.LM(model.name, temperature=temperature, max_tokens=model.max_tokens, **told)
    except LMConfigurationError:
        return dspy.LM(model.name, **told)
