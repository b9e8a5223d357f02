"""The YAML form of a DSPy program: the class to call, and the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any

import dspy

from pipelines.adapters.dspy_programs.inspection.identity import attributes_of
from pipelines.adapters.dspy_programs.inspection.lms import Fallback
from pipelines.adapters.dspy_programs.inspection.places import every_module
from pipelines.adapters.dspy_programs.pipeline import DSPyPipeline, from_dspy
from pipelines.errors import PipelineError
from pipelines.files.yaml_form import check_keys, names, told_form
from pipelines.files.yaml_text import write_yaml
from pipelines.gateway.model import Model
from pipelines.modules.functions import import_function, reference_of
from search_spaces.refusals import nearest

_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_WAY_OUT = "; result.to_dspy().save(...) keeps what DSPy can keep"
_KEYS = (
    "name", "program", "inputs", "outputs", "returned", "fallback", "models", "config", "provenance"
)  # fmt: skip


def to_yaml(pipeline: DSPyPipeline) -> str:
    """The YAML text; see `DSPyPipeline.to_yaml`."""
    reference = check_reference(type(pipeline.program))
    again = _again(reference)
    _check_same(pipeline, again, reference)
    form: dict[str, Any] = {"name": pipeline.name, "program": reference}
    if pipeline.inputs != again.inputs:
        form["inputs"] = list(pipeline.inputs)
    if pipeline.declared:
        form["outputs"] = list(pipeline.outputs)
    elif pipeline.outputs != again.outputs:
        form["returned"] = list(pipeline.outputs)
    if pipeline.fallback is not None:
        model, temperature = pipeline.fallback
        form["fallback"] = {"model": model.label, "temperature": temperature}
        others = [each for each in pipeline.models if each.label != model.label]
        pipeline = replace(pipeline, models=(*others, model))
    return write_yaml({**form, **told_form(pipeline)})


def from_form(form: Mapping[str, Any], told: Mapping[str, Any]) -> DSPyPipeline:
    """The program that the form names.

    Args:
        form: as read from YAML.
        told: its config, models and provenance, read already.

    Raises:
        PipelineError: it can't be imported or made, or the config does not fit it.
    """
    check_keys(form, "a pipeline", _KEYS, ("name", "program"))
    pipeline = _again(form["program"], names(form, "outputs"))
    pipeline = pipeline.with_inputs(names(form, "inputs") if "inputs" in form else pipeline.inputs)
    pipeline = pipeline.with_outputs(names(form, "returned"))
    models = told["models"] or pipeline.models
    fallback = _fallback(form["fallback"], models) if "fallback" in form else pipeline.fallback
    return replace(pipeline, name=form["name"], fallback=fallback, **{**told, "models": models})


def check_reference(kind: type) -> str:
    """The `package.module:Class` by which the program can be made again, without making it.

    Raises:
        PipelineError: it can't be imported, or needs arguments.
    """
    try:
        reference = reference_of(kind)
    except PipelineError as error:
        raise PipelineError(f"{error.message}{_WAY_OUT}") from error
    # DSPy's metaclass takes anything, so the class itself would say nothing
    parameters = list(signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in _VARIADIC]
    if needed:
        raise PipelineError(f"{reference} can't be made without {needed[0]!r}{_WAY_OUT}")
    return reference


def _again(reference: str, outputs: Sequence[str] = ()) -> DSPyPipeline:
    make = import_function(reference)
    try:
        program = make()
    except Exception as error:  # the user's own code, which may raise anything
        problem = f"{type(error).__name__}: {error}"
        raise PipelineError(f"{reference}() made no program: {problem}", ("program",)) from error
    return from_dspy(program, outputs=outputs)


def _check_same(pipeline: DSPyPipeline, again: DSPyPipeline, reference: str) -> None:
    """Whether calling the class without arguments makes the program that was tuned.

    Raises:
        PipelineError: it makes another; names what differs.
    """
    given, made = _written(pipeline), _written(again)
    for place in (*given, *made):
        if given.get(place) != made.get(place):
            raise PipelineError(
                f"{reference}() makes another program: {place} is not as it was tuned{_WAY_OUT}"
            )


def _written(pipeline: DSPyPipeline) -> dict[str, str]:
    """What a program consists of, by what to call it in an error."""
    told = {f"module {each.name!r}": repr(each.signature) for each in pipeline.modules}
    for place, module in every_module(pipeline.program):
        if not isinstance(module, dspy.Predict):
            of = "" if place == "self" else f" of {place!r}"
            told |= {f"{name!r}{of}": text for name, text in attributes_of(module).items()}
    return told


def _fallback(form: Any, models: Sequence[Model]) -> Fallback:
    """The model that the program's own code asks.

    Raises:
        PipelineError: the form names none of the models.
    """
    check_keys(form, "fallback", ("model", "temperature"), ("model",))
    for model in models:
        if model.label == form["model"]:
            return Fallback(model, form.get("temperature"))
    hint = nearest(str(form["model"]), (model.label for model in models))
    raise PipelineError(f"fallback names no model of `models`: {form['model']!r}{hint}")
