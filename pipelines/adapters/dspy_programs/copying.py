"""Copies of a DSPy program with other predictors in it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MethodType
from typing import Any

import dspy
from dspy.primitives.base_module import BaseModule

from pipelines.adapters.dspy_programs.inspection.places import is_searched


def copy_program(program: dspy.Module, predictors: Mapping[int, dspy.Predict]) -> Any:
    """A copy of a program with other predictors, which are given by the `id` of the originals.

    Modules are copied, and the lists, tuples, sets and dicts in them; methods of the program that
    serve as tools become the copy's. All else, such as a retriever, is shared with the original.
    """
    return _copied(program, dict(predictors))


def _copied(value: Any, made: dict[int, Any]) -> Any:
    """The copy, made once, so that objects shared in the program are shared in the copy."""
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, BaseModule):
        new = made[id(value)] = object.__new__(type(value))
        vars(new).update({name: _copied(each, made) for name, each in vars(value).items()})
        return new
    if is_searched(value):
        return _container(value, made)
    if isinstance(value, MethodType) and isinstance(value.__self__, BaseModule):
        return MethodType(value.__func__, _copied(value.__self__, made))
    if isinstance(value, dspy.Tool) and isinstance(value.func, MethodType):
        return value.model_copy(update={"func": _copied(value.func, made)})
    return value


def _container(value: Any, made: dict[int, Any]) -> Any:
    """Subclasses of `list` and the like may take other arguments, so a copy is refilled."""
    if isinstance(value, tuple | frozenset):
        entries = [_copied(each, made) for each in value]
        return value._make(entries) if hasattr(value, "_make") else type(value)(entries)
    new = made[id(value)] = copy.copy(value)
    if isinstance(value, dict):
        for key, each in value.items():
            new[key] = _copied(each, made)
    elif isinstance(value, list):
        new[:] = [_copied(each, made) for each in value]
    else:
        new.clear()
        new.update(_copied(each, made) for each in value)
    return new
