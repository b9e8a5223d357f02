"""Exports a tuned DSPy program as one that runs without this library."""

from __future__ import annotations

import copy
import json
import logging
from typing import TYPE_CHECKING, Any

import dspy

from pipelines.adapters.dspy_programs.copying import copy_program
from pipelines.adapters.dspy_programs.inspection.lms import as_lm
from pipelines.adapters.dspy_programs.tuned_program import TunedProgram
from pipelines.errors import PipelineError
from pipelines.gateway.model import Model
from pipelines.modules.signature import fresh_signature
from pipelines.programs.adapter import chat_adapter
from pipelines.providers import is_known_elsewhere
from search_spaces import ModuleConfig

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from pipelines.adapters.dspy_programs.pipeline import DSPyPipeline, PredictorModule


def to_dspy(pipeline: DSPyPipeline) -> dspy.Module:
    """See `DSPyPipeline.to_dspy`."""
    try:
        return _plain_program(pipeline)
    except PipelineError as error:
        logger.warning(
            "to_dspy gives a TunedProgram, which needs this library to run: %s", error.message
        )
        return TunedProgram(pipeline, error.message)


def _plain_program(pipeline: DSPyPipeline) -> dspy.Module:
    """A program of the same class with the config in it; raises PipelineError if DSPy can't hold
    it."""
    config = pipeline.config or pipeline.default_config()
    models = pipeline.with_config(config, pipeline.models).named_models()
    for model in models.values():
        if not is_known_elsewhere(model):
            raise PipelineError(f"{model.name!r} is a model of this library's own")
    replacing = {}
    for module in pipeline.modules:
        knobs = config.modules[module.name]
        if knobs.width > 1:
            raise PipelineError(
                f"module {module.name!r} asks {knobs.width} members, which DSPy has no form for: "
                "SearchSpace(exportable=True) searches without"
            )
        if knobs.reply_format != "chat":
            kind = knobs.reply_format.upper()
            raise PipelineError(
                f"module {module.name!r} has reply_format {knobs.reply_format!r}, which DSPy has "
                f"no form for: dspy.configure(adapter=dspy.{kind}Adapter()) has it for all modules"
            )
        replacing[id(module.predictor)] = _tuned(module, knobs, models)
    program: dspy.Module = copy_program(pipeline.program, replacing)
    _check_survives(pipeline, program)
    return program


def _tuned(module: PredictorModule, config: ModuleConfig, models: dict[str, Model]) -> dspy.Predict:
    (label,) = config.models
    tuned = copy.deepcopy(module.predictor)
    tuned.signature = fresh_signature(module.signature, config.instructions)
    tuned.demos = [dspy.Example(**demo) for demo in config.demos]
    tuned.lm = as_lm(models[label], config.temperature, config.params)
    tuned.config = {k: v for k, v in tuned.config.items() if k != "temperature"}
    return tuned


def _check_survives(pipeline: DSPyPipeline, program: dspy.Module) -> None:
    """Raises PipelineError if the program that DSPy saves and loads would have other prompts."""
    untuned = {id(m.predictor): copy.deepcopy(m.predictor) for m in pipeline.modules}
    loaded = copy_program(pipeline.program, untuned)
    rule = "would not survive dspy's save and load"
    try:
        loaded.load_state(json.loads(json.dumps(program.dump_state())), allow_unsafe_lm_state=True)
    except Exception as error:  # a value that DSPy can't serialize may raise anything
        raise PipelineError(f"program {pipeline.name!r} {rule}: {error}") from error
    pairs = zip(program.named_predictors(), loaded.named_predictors(), strict=True)
    for (name, tuned), (_, again) in pairs:
        if _prompt(tuned) != _prompt(again):
            raise PipelineError(f"module {name!r}: its signature or a demo {rule}")


def _prompt(predictor: dspy.Predict) -> list[Any]:
    """Its whole prompt without the inputs, as DSPy's default adapter writes it."""
    messages: list[Any] = chat_adapter().format(predictor.signature, predictor.demos, {})
    return [repr(predictor.signature), *messages]
