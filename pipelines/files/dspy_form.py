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
from pipelines.files.yaml_form import check_keys, names, tuning_form
from pipelines.files.yaml_text import write_yaml
from pipelines.gateway.model import Model
from pipelines.modules.functions import import_function, reference_of
from pipelines.modules.signature import signature_text
from search_spaces.refusals import nearest

_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_GIVEN = ("class", "modules", "reason")
"""Keys of `program` where calling a class does not make it."""
_KEYS = (
    "name", "program", "inputs", "outputs", "returned", "fallback", "models", "config", "provenance"
)  # fmt: skip


def to_yaml(pipeline: DSPyPipeline) -> str:
    """The YAML text; see `DSPyPipeline.to_yaml`."""
    form: dict[str, Any] = {"name": pipeline.name}
    try:
        form["program"] = _reference(type(pipeline.program))
        again = _again(form["program"])
        _check_same(pipeline, again, form["program"])
    except PipelineError as error:
        again = from_dspy(pipeline.program)
        form["program"] = {
            "class": type(pipeline.program).__qualname__,
            "modules": _signatures(pipeline),
            "reason": error.message,
        }
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
    return write_yaml({**form, **tuning_form(pipeline)})


def from_form(
    form: Mapping[str, Any], tuning: Mapping[str, Any], program: dspy.Module | None = None
) -> DSPyPipeline:
    """The program that the form names, or the one given, with config, models and provenance. Raises
    PipelineError if it can't be made, does not match, or is needed and not given."""
    check_keys(form, "a pipeline", _KEYS, ("name", "program"))
    pipeline = _given(form["program"], program, names(form, "outputs"))
    pipeline = pipeline.with_inputs(names(form, "inputs") if "inputs" in form else pipeline.inputs)
    pipeline = pipeline.with_outputs(names(form, "returned"))
    models = tuning["models"] or pipeline.models
    fallback = _fallback(form["fallback"], models) if "fallback" in form else pipeline.fallback
    return replace(pipeline, name=form["name"], fallback=fallback, **{**tuning, "models": models})


def _given(form: Any, program: dspy.Module | None, outputs: Sequence[str]) -> DSPyPipeline:
    """The program that the form names, or the one given, if it has the same modules."""
    if isinstance(form, str):
        return _again(form, outputs) if program is None else from_dspy(program, outputs=outputs)
    check_keys(form, "program", _GIVEN, _GIVEN)
    if program is None:
        raise PipelineError(
            f"this needs the program that it was tuned for, a {form['class']}, since "
            f"{form['reason']}: Pipeline.load(path, program=...), or --program module:object on "
            "the command line",
            ("program",),
        )
    pipeline = from_dspy(program, outputs=outputs)
    tuned, there = form["modules"], _signatures(pipeline)
    for name in (*tuned, *there):
        before, now = tuned.get(name), there.get(name)
        if before != now:
            problem = f"module {name!r} was tuned as {before!r}, and is {now!r} in program=..."
            raise PipelineError(problem, ("program", "modules"))
    return pipeline


def _signatures(pipeline: DSPyPipeline) -> dict[str, str]:
    return {module.name: signature_text(module.signature) for module in pipeline.modules}


def _reference(kind: type) -> str:
    """The `package.module:Class` that makes the program; PipelineError if it needs arguments."""
    reference = reference_of(kind)
    # DSPy's metaclass takes anything, so the class has no signature of its own
    parameters = list(signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in _VARIADIC]
    if needed:
        raise PipelineError(f"{reference} can't be made without {needed[0]!r}")
    return reference


def _again(reference: str, outputs: Sequence[str] = ()) -> DSPyPipeline:
    make = import_function(reference)
    try:
        program = make()
    except (Exception, SystemExit) as error:  # the user's own code, which may raise anything
        problem = f"{type(error).__name__}: {error}"
        raise PipelineError(f"{reference}() made no program: {problem}", ("program",)) from error
    return from_dspy(program, outputs=outputs)


def _check_same(pipeline: DSPyPipeline, again: DSPyPipeline, reference: str) -> None:
    """Raises PipelineError if calling the class without arguments makes another program."""
    given, made = _written(pipeline), _written(again)
    for place in (*given, *made):
        if given.get(place) != made.get(place):
            raise PipelineError(
                f"{reference}() makes another program: {place} is not as it was tuned"
            )


def _written(pipeline: DSPyPipeline) -> dict[str, str]:
    """The parts of a program, by what errors call them."""
    parts = {f"module {each.name!r}": repr(each.signature) for each in pipeline.modules}
    for place, module in every_module(pipeline.program):
        if not isinstance(module, dspy.Predict):
            of = "" if place == "self" else f" of {place!r}"
            parts |= {f"{name!r}{of}": text for name, text in attributes_of(module).items()}
    return parts


def _fallback(form: Any, models: Sequence[Model]) -> Fallback:
    """The model that the program's own code asks."""
    check_keys(form, "fallback", ("model", "temperature"), ("model",))
    for model in models:
        if model.label == form["model"]:
            return Fallback(model, form.get("temperature"))
    hint = nearest(str(form["model"]), (model.label for model in models))
    raise PipelineError(f"fallback names no model of `models`: {form['model']!r}{hint}")
