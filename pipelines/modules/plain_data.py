"""Values of a signature's types as plain data, as requests and files have them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args, get_origin

import dspy
from pydantic import BaseModel


def plain_record(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with images as their addresses, and other objects of Pydantic's as mappings."""
    return {name: _plain(value) for name, value in values.items()}


def typed_record(values: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `plain_record`.

    A value that its type refuses stays as it is.

    Args:
        values: by field.
        types: of the fields, as the signatures have them; others may be missing, or None.
    """
    return {name: _typed(value, types.get(name)) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dspy.Image):
        return value.url
    if isinstance(value, BaseModel):
        return {name: _plain(each) for name, each in value}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _typed(value: Any, kind: Any) -> Any:
    if get_origin(kind) is list and isinstance(value, list):
        return [_typed(each, *get_args(kind)) for each in value]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        with suppress(ValueError):
            if isinstance(value, Mapping):
                return kind.model_validate(value)
            if issubclass(kind, dspy.Image) and isinstance(value, str):
                return kind.model_validate({"url": value})
    return value
