"""What a DSPy program takes from an example, and what it may return."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType
from typing import Any, NamedTuple

import dspy

from pipelines.adapters.dspy_programs.inspection.identity import classes_of, methods_of
from pipelines.errors import PipelineError
from pipelines.modules.signature import REASONING

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Arguments(NamedTuple):
    """The names that a program is called with."""

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    """Those that have defaults."""
    guessed: bool = False
    """Whether `forward` takes any keyword, so that `needed` comes from signatures."""


def entry_point(program: dspy.Module) -> str:
    """`forward`, or else `aforward`. Raises PipelineError if there is neither."""
    for name in ("forward", "aforward"):
        if callable(getattr(type(program), name, None)):
            return name
    raise PipelineError(f"{type(program).__name__} must have a method `forward` or `aforward`")


def arguments_of(program: dspy.Module, predictors: Mapping[str, dspy.Predict]) -> Arguments:
    """The parameters of `forward`; where it takes any keyword, the inputs of its signature.

    A program without a signature is assumed to need the fields that predictors read and none
    writes.
    """
    method = getattr(type(program), entry_point(program))
    parameters = list(inspect.signature(method).parameters.values())[1:]
    named = [p for p in parameters if p.kind in _NAMED]
    if named or not any(p.kind is p.VAR_KEYWORD for p in parameters):
        needed = tuple(p.name for p in named if p.default is p.empty)
        return Arguments(needed, tuple(p.name for p in named if p.default is not p.empty))
    signature: Any = getattr(program, "signature", None)
    if hasattr(signature, "input_fields"):
        return Arguments(tuple(signature.input_fields), guessed=True)
    written = {name for each in predictors.values() for name in each.signature.output_fields}
    read = (name for each in predictors.values() for name in each.signature.input_fields)
    unwritten = tuple(dict.fromkeys(name for name in read if name not in written))
    return Arguments(unwritten, guessed=True)


def outputs_of(predictors: Iterable[dspy.Predict]) -> tuple[str, ...]:
    """All output fields of predictors except the chains of thought: what may be returned."""
    written = (name for each in predictors for name in each.signature.output_fields)
    return tuple(dict.fromkeys(name for name in written if name != REASONING))


def names_in_code(program: dspy.Module) -> frozenset[str]:
    """All string constants in the methods of its classes, with the fields that these return."""
    methods = (method for kind in classes_of(program) for method in methods_of(kind))
    return frozenset(text for method in methods for text in _texts(method.__code__))


def _texts(value: Any) -> Iterator[str]:
    """The string constants of code; names of keyword arguments are in tuples."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, CodeType | tuple):
        for each in value.co_consts if isinstance(value, CodeType) else value:
            yield from _texts(each)
