"""The YAML form of a DSPy program: how to make it again, and the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from pipelines.errors import PipelineError
from pipelines.functions import import_function, reference_of
from pipelines.yaml_form import check_keys, told_form
from pipelines.yaml_text import write_yaml

if TYPE_CHECKING:
    from pipelines.dspy_programs.pipeline import DSPyPipeline

_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_WAY_OUT = "; result.to_dspy().save(...) keeps what DSPy can keep"
_KEYS = ("name", "program", "inputs", "models", "config", "provenance")


def to_yaml(pipeline: DSPyPipeline) -> str:
    """The YAML text; see `DSPyPipeline.to_yaml`."""
    form: dict[str, Any] = {"name": pipeline.name, "program": _reference(pipeline)}
    if pipeline.arguments.needed != _again(form["program"]).arguments.needed:
        form["inputs"] = list(pipeline.arguments.needed)
    return write_yaml({**form, **told_form(pipeline)})


def from_form(form: Mapping[str, Any], told: Mapping[str, Any]) -> DSPyPipeline:
    """The program that the form names, made anew.

    Args:
        form: as read from YAML.
        told: its config, models and provenance, read already.

    Raises:
        PipelineError: it can't be imported or made, or the config does not fit it.
    """
    check_keys(form, "a pipeline", _KEYS, ("name", "program"))
    pipeline = _again(form["program"])
    if "inputs" in form:
        pipeline = pipeline.with_inputs(form["inputs"])
    models = told["models"] or pipeline.models
    return replace(pipeline, name=form["name"], **{**told, "models": models})


def check_reference(kind: type) -> str:
    """The `package.module:Class` by which the program can be made again, without making it.

    Raises:
        PipelineError: it can't be imported, or needs arguments.
    """
    try:
        reference = reference_of(kind)
    except PipelineError as error:
        raise PipelineError(f"{error.message}{_WAY_OUT}") from error
    needed = [p.name for p in signature(kind).parameters.values() if _is_needed(p)]
    if needed:
        raise PipelineError(f"{reference} can't be made without {needed[0]!r}{_WAY_OUT}")
    return reference


def _is_needed(parameter: Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in _VARIADIC


def _again(reference: str) -> DSPyPipeline:
    from pipelines.dspy_programs.pipeline import from_dspy

    make = import_function(reference)
    try:
        program = make()
    except Exception as error:  # the user's own code, which may raise anything
        problem = f"{type(error).__name__}: {error}"
        raise PipelineError(f"{reference}() made no program: {problem}", ("program",)) from error
    return from_dspy(program)


def _reference(pipeline: DSPyPipeline) -> str:
    """What makes the program again when it is called without arguments: its class.

    Raises:
        PipelineError: it is not to be imported, needs arguments, or makes another program.
    """
    reference = check_reference(type(pipeline.program))
    again = _again(reference)
    for given, made in zip(pipeline.modules, again.modules, strict=False):
        if (given.name, repr(given.signature)) != (made.name, repr(made.signature)):
            raise PipelineError(
                f"{reference}() makes another program: its module {made.name!r} is not "
                f"{given.name!r} as it was tuned{_WAY_OUT}"
            )
    if len(again.modules) != len(pipeline.modules):
        raise PipelineError(f"{reference}() makes a program with other modules{_WAY_OUT}")
    return reference
