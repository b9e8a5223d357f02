"""The YAML form of plain Python: where its factory is, and the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipelines.adapters.callables.pipeline import CallablePipeline, from_callable
from pipelines.errors import PipelineError
from pipelines.files.yaml_form import check_keys, names, tuning_form
from pipelines.files.yaml_text import write_yaml
from pipelines.modules.functions import import_function, reference_of

_KEYS = ("name", "factory", "modules", "inputs", "outputs", "models", "config", "provenance")


def to_yaml(pipeline: CallablePipeline) -> str:
    """The YAML text; see `CallablePipeline.to_yaml`."""
    start = {module.name: module.model for module in pipeline.modules}
    form: dict[str, Any] = {
        "name": pipeline.name,
        "factory": reference_of(pipeline.factory),
        "modules": start if any(start.values()) else list(start),
        "inputs": list(pipeline.inputs),
    }
    if pipeline.outputs:
        form["outputs"] = list(pipeline.outputs)
    return write_yaml({**form, **tuning_form(pipeline)})


def from_form(form: Mapping[str, Any], tuning: Mapping[str, Any]) -> CallablePipeline:
    """The pipeline that the form names, with its config, models and provenance."""
    check_keys(form, "a pipeline", _KEYS, ("name", "factory", "modules"))
    modules = form["modules"]
    try:
        factory = import_function(form["factory"])
        pipeline = from_callable(
            factory,
            modules if isinstance(modules, Mapping) else names(form, "modules"),
            name=form["name"],
            inputs=names(form, "inputs") if "inputs" in form else None,
            outputs=names(form, "outputs"),
        )
    except PipelineError as error:
        raise PipelineError(error.message, error.at or ("factory",)) from error
    return replace(pipeline, **tuning)
