"""Converts labels and answers to text for comparison."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping
from enum import Enum
from typing import Any

import pydantic

_QUOTES = " \"'`“”‘’«»*"  # the star for **bold**
_PUNCTUATION = ".,;:!?"


def unpacked(value: Any) -> Any:
    """What a typed value holds: a model's or dataclass's fields as a mapping, an Enum's value."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, pydantic.RootModel):
        return value.root
    if isinstance(value, pydantic.BaseModel):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return value


def text_of(value: Any) -> str:
    """Any value as text: None is "", a whole float is written as an integer, a list by commas.

    A set is the sorted list of its items; of an Enum it is the value's text.
    """
    value = unpacked(value)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(text_of(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(map(text_of, value)))
    if isinstance(value, Mapping):
        return str({key: unpacked(item) for key, item in value.items()})
    return str(value)


def normalised(value: Any) -> str:
    """The text of `value` without differences that do not matter to an answer.

    Case, runs of whitespace, composed or decomposed accents, and around the whole text: quotes,
    bold stars, sentence punctuation and one pair of parentheses. Signs, units and a leading decimal
    point do matter, and text of nothing but punctuation is left as it is.
    """
    text = text_of(value)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    whole = " ".join(text.casefold().split())
    core = _core(whole)
    return core or whole


def _core(text: str) -> str:
    before = None
    while text != before:
        before = text
        text = text.strip(_QUOTES).rstrip(_PUNCTUATION)
        if text[:1] in ",;:!?":
            text = text.lstrip(",;:!?")
        if text[:1] == "(" and text[-1:] == ")" and text.count("(") == text.count(")") == 1:
            text = text[1:-1]
    return text
