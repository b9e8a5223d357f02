"""Reads and writes the YAML form of pipelines, without loss; errors name the line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipelines.aggregators.notation import labels_of
from pipelines.errors import PipelineError
from pipelines.files.named_code import named_code
from pipelines.files.yaml_text import read_text, read_yaml, write_yaml
from pipelines.gateway.model import Model
from pipelines.modules.functions import reference_of, refusing_code
from pipelines.modules.module import Module
from pipelines.modules.signature import signature_fields, signature_text
from pipelines.spec.pipeline import Pipeline
from pipelines.spec.tunable import Tunable
from search_spaces import AggregatorConfig, ModuleConfig, PipelineConfig
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    import dspy

T = TypeVar("T")


def to_yaml(pipeline: Pipeline) -> str:
    """The YAML text; see `Pipeline.to_yaml`."""
    form: dict[str, Any] = {
        "name": pipeline.name,
        "modules": [_module_form(module) for module in pipeline.modules],
    }
    if tuple(pipeline.outputs) != pipeline.default_outputs:
        form["outputs"] = list(pipeline.outputs)
    return write_yaml({**form, **tuning_form(pipeline)})


def tuning_form(pipeline: Tunable) -> dict[str, Any]:
    """The models, config and provenance of a tuned pipeline."""
    form: dict[str, Any] = {}
    if pipeline.models:
        form["models"] = [_model_form(model) for model in pipeline.models]
    if pipeline.config is not None:
        modules = pipeline.config.modules.items()
        form["config"] = {name: _module_config_form(module) for name, module in modules}
    if pipeline.provenance:
        form["provenance"] = dict(pipeline.provenance)
    return form


def from_yaml(
    text: str,
    source: str | None = None,
    allow_code: bool = False,
    program: dspy.Module | None = None,
) -> Tunable:
    """The pipeline that the text describes; see `Pipeline.from_yaml`."""
    form, lines = read_yaml(text, source)
    with refusing_code(not allow_code) as refused:
        try:
            pipeline = _pipeline(form, program)
            if not allow_code:
                _read_networks(pipeline, refused)
        except PipelineError as error:
            message = _not_allowed(form, refused) if refused else error.message
            if len(message) > 1000:  # it quotes what is wrong, which may be anything
                message = f"{message[:700]} [...] {message[-250:]}"
            line = lines[error.at]
            raise PipelineError(message, error.at, line=line, source=source) from error
    return pipeline


def _read_networks(pipeline: Tunable, refused: Sequence[str]) -> None:
    """Parse the networks that only a search would parse otherwise, since they may name refused
    code."""
    for index, module in enumerate(pipeline.modules):
        if module.model is not None:
            try:
                labels_of(module.model)
            except PipelineError as error:
                if refused:
                    raise error.within("modules", index, "model") from error


def load(path: str | Path, allow_code: bool = False, program: dspy.Module | None = None) -> Tunable:
    """The pipeline in the file; see `Pipeline.load`."""
    return from_yaml(read_text(path), str(path), allow_code, program)


def _not_allowed(form: Any, refused: Sequence[str]) -> str:
    names = ", ".join(dict.fromkeys([*named_code(form), *refused]))
    return (
        f"this names code that would be imported, and so be run: {names}. If you trust it: "
        "Pipeline.load(path, allow_code=True), or --allow-code on the command line"
    )


def _module_form(module: Module) -> dict[str, Any]:
    if not isinstance(module.signature, str):
        text = signature_text(module.signature)
        advice = f"write it as text, {text!r}, with instructions=..."
        try:
            signature_fields(text)
        except PipelineError:
            advice = "a dspy.Module with this signature can be saved, for YAML names its class"
        problem = "has a class for its signature, which YAML has no form for"
        raise PipelineError(f"module {module.name!r} {problem}: {advice}")
    form: dict[str, Any] = {"name": module.name, "signature": module.signature}
    form |= _changed(module, Module("any", "input -> output"))
    if module.function is not None:
        form["function"] = reference_of(module.callable)
    if module.demos:
        form["demos"] = [dict(demo) for demo in module.demos]
    return form


def _model_form(model: Model) -> dict[str, Any]:
    return {"name": model.name, **_changed(model, Model(model.name))}


def _module_config_form(config: ModuleConfig) -> dict[str, Any]:
    form: dict[str, Any] = {}
    default = ModuleConfig()
    for knob, value in config:
        if knob == "models" and config.members:
            continue  # they name their models themselves
        if isinstance(value, AggregatorConfig):
            form[knob] = _aggregator_form(value)
        elif knob == "members" and value:
            form[knob] = [{"model": member.model, **_listed(member.own)} for member in value]
        elif value != getattr(default, knob):
            form[knob] = value
    return _listed(form)


def _aggregator_form(config: AggregatorConfig) -> dict[str, Any]:
    form: dict[str, Any] = {"name": config.name}
    if config.params:
        form["params"] = dict(config.params)
    if config.modules:
        form["modules"] = {role: _module_config_form(each) for role, each in config.modules.items()}
    return form


def _listed(form: Mapping[str, Any]) -> dict[str, Any]:
    """The form with lists in place of tuples."""
    return {k: list(value) if isinstance(value, tuple) else value for k, value in form.items()}


def _changed(spec: Module | Model, default: Module | Model) -> dict[str, Any]:
    """The fields that differ from the default's."""
    names = [field.name for field in dataclasses.fields(spec)]
    changed = [name for name in names if getattr(spec, name) != getattr(default, name)]
    return {name: getattr(spec, name) for name in changed}


def _pipeline(form: Any, program: dspy.Module | None) -> Tunable:
    if isinstance(form, Mapping) and "program" in form:
        from pipelines.files import dspy_form

        return dspy_form.from_form(form, tuning_of(form), program)
    if program is not None:
        raise PipelineError("program= is for DSPy programs, which this is not: leave it out")
    if isinstance(form, Mapping) and "factory" in form:
        from pipelines.files import callable_form

        return callable_form.from_form(form, tuning_of(form))
    keys = [field.name for field in dataclasses.fields(Pipeline)]
    check_keys(form, "a pipeline", keys, ("name", "modules"))
    modules = _each(form, "modules", _module)
    return Pipeline(form["name"], modules, names(form, "outputs"), **tuning_of(form))


def tuning_of(form: Mapping[str, Any]) -> dict[str, Any]:
    """What `tuning_form` wrote, as arguments of a pipeline."""
    config = form.get("config")
    return {
        "config": None if config is None else _config(config),
        "models": _each(form, "models", _model),
        "provenance": _held(form, "provenance", dict, "a mapping"),
    }


def _each(form: Mapping[str, Any], key: str, make: Callable[[Any], T]) -> list[T]:
    """What is made of each item of the list under the key; errors name the item."""
    made = []
    for index, given in enumerate(_held(form, key, list, "a list")):
        try:
            made.append(make(given))
        except PipelineError as error:
            raise error.within(key, index) from error
    return made


def _module(form: Any) -> Module:
    keys = [field.name for field in dataclasses.fields(Module)]
    check_keys(form, "a module", keys, ("name", "signature"))
    return Module(**form)


def _model(form: Any) -> Model:
    form = {"name": form} if isinstance(form, str) else form
    check_keys(form, "a model", [field.name for field in dataclasses.fields(Model)], ("name",))
    try:
        return TypeAdapter(Model).validate_python(form)  # whose errors have places
    except ValidationError as error:
        refused = _refused(error, quoted=False)
    raise refused  # not from the error, which may hold a key


def _config(form: Any) -> PipelineConfig:
    if not isinstance(form, Mapping):
        raise PipelineError(f"config must be a mapping by module, but is {form!r}", ("config",))
    modules = {}
    for name, knobs in form.items():
        try:
            check_keys(knobs, "a module's config", tuple(ModuleConfig.model_fields), ())
            modules[name] = ModuleConfig.model_validate(knobs)
        except PipelineError as error:
            raise error.within("config", name) from error
        except ValidationError as error:
            raise _refused(error).within("config", name) from error
    return PipelineConfig(modules=modules)


def _refused(error: ValidationError, *, quoted: bool = True) -> PipelineError:
    first = error.errors()[0]
    if (
        first["type"] == "value_error" and not first["loc"]
    ):  # a check of ours, whose message is complete
        return PipelineError(str(first["ctx"]["error"]))
    knob = ".".join(map(str, first["loc"]))
    given = f", but got {first['input']!r}" if quoted else ""
    problem = first["msg"].removeprefix("Value error, ")
    return PipelineError(f"{knob}: {problem}{given}", first["loc"])


def check_keys(form: Any, what: str, known: Sequence[str], needed: Sequence[str]) -> None:
    """Raises PipelineError unless the form is a mapping with all needed keys and no unknown
    ones."""
    if not isinstance(form, Mapping):
        raise PipelineError(f"{what} must be a mapping, but is {form!r}")
    for key in form:
        if key not in known:
            raise PipelineError(f"{what} has no key {key!r}{nearest(key, known)}", (key,))
    for key in needed:
        if key not in form:
            raise PipelineError(f"{what} needs the key {key!r}")


def names(form: Mapping[str, Any], key: str) -> list[str]:
    """The list of names under the key, empty if there is none; raises PipelineError for anything
    else."""
    given = _held(form, key, list, "a list")
    for index, name in enumerate(given):
        if not isinstance(name, str):
            raise PipelineError(f"{key} must be names, but got {name!r}", (key, index))
    return given


def _held(form: Mapping[str, Any], key: str, kind: type[T], what: str) -> T:
    given = form.get(key)
    if given is not None and not isinstance(given, kind):
        raise PipelineError(f"{key} must be {what}, but is {given!r}", (key,))
    return given or kind()
