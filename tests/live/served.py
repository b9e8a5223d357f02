"""The models that `COMPOUND_OPTIMIZER_LIVE` names, and plain DSPy asking them.

The tests keep their own prices, so that money can be counted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dspy

from pipelines import Pipeline
from pipelines.gateway.model import Model

VARIABLE = "COMPOUND_OPTIMIZER_LIVE"
EXAMPLE = "openai/qwen-0.5b@http://127.0.0.1:9102/v1,openai/smollm2-135m@http://127.0.0.1:9101/v1"
INPUT_USD, OUTPUT_USD = 1.0, 2.0
"""Per million tokens."""


def named() -> dict[str, str]:
    """The addresses by name, in the variable's order; empty without it.

    Raises:
        ValueError: an entry has not the form `name@address`.
    """
    entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
    pairs = [entry.partition("@") for entry in entries]
    if not all(name and url for name, _, url in pairs):
        raise ValueError(f"{VARIABLE} must be name@address, ..., such as {EXAMPLE}")
    return {name: url.rstrip("/") for name, _, url in pairs}


NAMED = named()
"""Read with this module: each test's environment has none of our variables."""
NAMES = list(NAMED) or ["none named"]


def model(name: str, url: str, *, max_tokens: int) -> Model:
    """The model of this name behind an address, which may be a proxy's."""
    return Model(
        name, name.partition("/")[2], url, input_usd_per_million=INPUT_USD,
        output_usd_per_million=OUTPUT_USD, max_tokens=max_tokens,
    )  # fmt: skip


class PlainLM(dspy.LM):
    """DSPy's own client, told that the server enforces JSON schemas, as we try with each."""

    supports_response_schema = property(lambda self: True)
    supported_params = property(lambda self: {"response_format"})


class PlainProgram(dspy.Module):
    """The pipeline in plain DSPy."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.inputs = pipeline.inputs
        self.steps = [
            dspy.Predict(dspy.Signature(module.signature, module.instructions))
            for module in pipeline.modules
        ]

    def forward(self, **known: Any) -> dspy.Prediction:
        fields: dict[str, Any] = dict(known)
        for step in self.steps:
            fields |= dict(step(**{name: fields[name] for name in step.signature.input_fields}))
        return dspy.Prediction(**fields)


def ask_plain_dspy(
    pipeline: Pipeline, model: Model, inputs: Mapping[str, Any]
) -> dspy.Prediction | str:
    """What plain DSPy answers at temperature 0, or how it failed."""
    lm = PlainLM(
        model.name, api_base=model.api_base, api_key="none", temperature=0.0,
        max_tokens=model.max_tokens, cache=False, num_retries=0,
    )  # fmt: skip
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), disable_history=True):
        try:
            return PlainProgram(pipeline)(**inputs)
        except dspy.AdapterParseError as error:
            return f"{type(error).__name__}: {str(error)[:300]}"
