"""Asks simulated models as DSPy would, without litellm, so that calls take no time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import dspy
from dspy.adapters import ChatAdapter
from dspy.utils.exceptions import AdapterParseError

from benchmarks.worlds import SimulatedModel, SimulatedReply, simulate
from pipelines.providers.simulated import SimulatedModel as Simulated

CHAT = ChatAdapter()
LOCATE = dspy.Signature("table, question -> task", "Extract the task whose ID is asked for.")
SOLVE = dspy.Signature("task -> answer")
QUESTION = dspy.Signature("question -> answer")


def steady(name: str = "steady", **settings: Any) -> SimulatedModel:
    """A model that neither refuses nor garbles."""
    return SimulatedModel(name, refusal_rate=0.0, malformed_rate=0.0, **settings)


def messages_for(signature: Any, inputs: Mapping[str, Any], adapter: Any = None) -> list[Any]:
    """What the adapter sends; DSPy takes longer to write a prompt than a model to answer it."""
    return _written(signature, json.dumps(inputs), adapter or CHAT)


@lru_cache(maxsize=8192)
def _written(signature: Any, inputs: str, adapter: Any) -> list[Any]:
    messages: list[Any] = adapter.format(signature, [], json.loads(inputs))
    return messages


def reply(
    model: Simulated, signature: Any, inputs: Mapping[str, Any], **parameters: Any
) -> SimulatedReply:
    return simulate(model, messages_for(signature, inputs), **parameters)


def ask(
    model: Simulated, signature: Any, inputs: Mapping[str, Any], **parameters: Any
) -> dict[str, Any]:
    """The output fields, or an empty dict where the reply can't be parsed."""
    try:
        text = reply(model, signature, inputs, **parameters).text
        fields: dict[str, Any] = CHAT.parse(signature, text)
        return fields
    except AdapterParseError:
        return {}


def answers(
    model: Simulated, rows: Sequence[dict[str, str]], signature: Any = QUESTION, **params: Any
) -> list[str | None]:
    """The model's answer to the question of every row."""
    fields = list(signature.input_fields)
    return [
        ask(model, signature, {name: row[name] for name in fields}, **params).get("answer")
        for row in rows
    ]


def rights(given: Sequence[str | None], rows: Sequence[dict[str, str]]) -> list[bool]:
    return [answer == row["answer"] for answer, row in zip(given, rows, strict=True)]


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
