"""Whether a config fits a pipeline."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipelines.aggregators import aggregator, check_aggregator
from pipelines.errors import PipelineError
from pipelines.modules.functions import check_arguments
from pipelines.modules.module import LLM_KNOBS, Module
from pipelines.modules.module_checks import check_demos
from search_spaces import ModuleConfig, PipelineConfig
from search_spaces.refusals import nearest

LLM_PARAMS = ("reasoning_effort",)
"""What a module that asks a model may set in `params`."""


def check_config(
    modules: Sequence[Module], config: PipelineConfig, labels: Collection[str] | None
) -> None:
    """Check that the config gives every module what it needs; labels of None are not checked.
    Raises PipelineError, which names the module, the knob and the rule."""
    by_name = {module.name: module for module in modules}
    for name in config.modules:
        if name not in by_name:
            hint = nearest(name, by_name)
            raise PipelineError(f"config has the unknown module {name!r}{hint}", ("config", name))
    for name, module in by_name.items():
        if name not in config.modules:
            raise PipelineError(f"config has no module {name!r}", ("config",))
        try:
            if module.is_llm:
                _check_llm(module, config.modules[name], labels)
            else:
                _check_function(module, config.modules[name])
        except PipelineError as error:
            message = f"config of module {name!r}: {error.message}"
            raise PipelineError(message, ("config", name, *error.at)) from error


def _check_knobs(module: Module, config: ModuleConfig) -> None:
    """Only the knobs that the module has may be set."""
    kind = "a module whose calls plain Python makes" if module.is_llm else "a function module"
    for knob in LLM_KNOBS:
        value = getattr(config, knob)
        if knob not in module.knobs and value != ModuleConfig.model_fields[knob].get_default():
            raise PipelineError(f"{kind} has no {knob}, but got {value!r}", (knob,))


def _check_llm(module: Module, config: ModuleConfig, labels: Collection[str] | None) -> None:
    _check_knobs(module, config)
    if not config.members and len(config.models) not in {1, config.width}:
        count = len(config.models)
        needed = "1 model" if config.width == 1 else f"1 model, or {config.width} (its width)"
        hint = f"; width={count} asks all of them" if count > 1 else ""
        raise PipelineError(f"needs {needed}, but got {list(config.models)}{hint}", ("models",))
    for place, label in enumerate(config.labels):
        if labels is not None and label not in labels:
            at = ("members", place, "model") if config.members else ("models",)
            raise PipelineError(f"unknown model {label!r}{nearest(label, labels)}", at)
    for param in config.params:
        if param not in LLM_PARAMS:
            raise PipelineError(
                f"only a function module has params, others {LLM_PARAMS[0]!r} only, not {param!r}",
                ("params",),
            )
    check_demos(module, config.demos)
    for place, member in enumerate(config.members):
        try:
            check_demos(module, member.demos or ())
        except PipelineError as error:
            at = ("members", place, "demos")
            raise PipelineError(f"member {place}: {error.message}", at) from error
    aggregation = config.aggregation
    if aggregation is not None or config.width > 1:
        check_aggregator(config, module)
    roles = aggregator(aggregation).roles if aggregation else {}
    instructions = module.instructions if config.instructions is None else config.instructions
    for role, role_config in config.roles.items():
        consulted = roles[role].module(f"{module.name}_{role}", module, instructions)
        try:
            _check_llm(consulted, role_config, labels)
        except PipelineError as error:
            path = ("aggregator", "modules", role, *error.at)
            raise PipelineError(f"{role}: {error.message}", path) from error


def _check_function(module: Module, config: ModuleConfig) -> None:
    _check_knobs(module, config)
    if config.params:
        merged = {**module.params, **config.params}
        check_arguments(module.callable, module.input_fields, merged)
