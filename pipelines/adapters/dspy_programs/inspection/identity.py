"""The identity of a DSPy program apart from its predictors, for keys."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import dspy
import numpy as np
from dspy.primitives.base_module import BaseModule

from pipelines.adapters.dspy_programs.inspection.places import every_module
from pipelines.modules.function_identity import function_identity, short_hash, without_addresses

_OF_DSPY = ("callbacks", "history", "_compiled")
"""What DSPy keeps in every module."""
_LIBRARIES = ("dspy", "builtins", "abc", "typing")


def program_identity(program: dspy.Module) -> dict[str, str]:
    """For each of its modules but the predictors, by place, its classes and its attributes.

    Classes are identified by their source, DSPy's by their names; attributes by their JSON, or
    their `repr` without addresses.
    """
    texts = {}
    for place, module in every_module(program):
        if not isinstance(module, dspy.Predict):
            kind, attributes = type(module), short_hash(json.dumps(attributes_of(module)))
            source = short_hash("".join(map(_source, _own_classes(kind))))
            texts[place] = f"{kind.__module__}.{kind.__qualname__}:{source} {attributes}"
    return texts


def attributes_of(module: BaseModule) -> dict[str, str]:
    """A hash of each attribute, except modules and what DSPy keeps itself."""
    own = {name: value for name, value in vars(module).items() if name not in _OF_DSPY}
    return {
        name: short_hash(described(each))
        for name, each in own.items()
        if not isinstance(each, BaseModule)
    }


def classes_of(program: dspy.Module) -> Iterator[type]:
    """The user's own classes that its modules are of."""
    for _, module in every_module(program):
        yield from _own_classes(type(module))


def _own_classes(kind: type) -> list[type]:
    return [each for each in kind.__mro__ if each.__module__.split(".")[0] not in _LIBRARIES]


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # in a notebook, where only functions have sources, or a REPL
        plain = {k: v for k, v in vars(kind).items() if isinstance(v, str | int | float)}
        constants = {name: value for name, value in plain.items() if not name.startswith("__")}
        methods = map(function_identity, methods_of(kind))
        return " ".join([kind.__qualname__, described(constants), *methods])


def methods_of(kind: type) -> Iterator[FunctionType]:
    """The functions that a class defines, also those behind properties and the like."""
    for value in vars(kind).values():
        for name in (None, "__func__", "fget", "func"):
            function = getattr(value, name, None) if name else value
            if isinstance(function, FunctionType):
                yield function


def described(value: Any) -> str:
    """A value as text that should differ for different values."""
    try:
        return json.dumps(value, sort_keys=True, default=_described)
    except (TypeError, ValueError):  # keys without a form in JSON; values in a circle
        return str(_described(value))


def _described(value: Any) -> Any:
    """A value without its address in memory, which no two runs share."""
    if isinstance(value, BaseModule):  # has an entry of its own
        return type(value).__qualname__
    if isinstance(value, dspy.Tool):
        return [value.name, value.desc, _described(value.func)]
    if inspect.ismethod(value):
        return f"{value.__module__}.{value.__qualname__}"
    if inspect.isroutine(value):
        return function_identity(value)
    if isinstance(value, set | frozenset):
        return sorted(map(described, value))
    if isinstance(value, Mapping):  # of keys that JSON has no form for
        return {without_addresses(repr(key)): described(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):  # whose repr is cut short
        return value.tolist()
    return without_addresses(repr(value))
