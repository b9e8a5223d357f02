"""From a config to bound modules: each with its models, sample indices and whom it consults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines import aggregators
from pipelines.binding import BoundModule
from pipelines.samples import sample_indices
from search_spaces import ModuleConfig, PipelineConfig

if TYPE_CHECKING:
    from pipelines.llms.model import Model
    from pipelines.module import Module
    from pipelines.tunable import Tunable


def bind_modules(
    pipeline: Tunable, config: PipelineConfig, models: Mapping[str, Model]
) -> dict[str, BoundModule]:
    """Every module with its part of the config, its models and its sample indices, by name."""
    bound = {}
    for module in pipeline.modules:
        after = pipeline.dependencies[module.name]
        config_of = config.modules[module.name]
        bound[module.name] = _bind(module, config_of, module.name, models, after)
    asking = [each for module in pipeline.llm_modules for each in bound[module.name].walk()]
    samples = sample_indices(asking)
    return {name: _with_samples(each, samples) for name, each in bound.items()}


def _bind(
    module: Module,
    config: ModuleConfig,
    path: str,
    models: Mapping[str, Model],
    after: tuple[str, ...] = (),
    sees: str = "",
) -> BoundModule:
    """The module with its models, and those whom its aggregator consults."""
    members = tuple(models[label] for label in config.labels) if module.is_llm else ()
    bound = BoundModule(module, config, after, models=members, path=path, sees=sees)
    roles = aggregators.aggregator(config.aggregation).roles if config.aggregation else {}
    consultants = {}
    for role, role_config in config.roles.items():
        consulted = roles[role].module(f"{module.name}_{role}", module, bound.instructions)
        field = roles[role].field(module)
        consultants[role] = _bind(consulted, role_config, f"{path}.{role}", models, sees=field)
    return replace(bound, consultants=consultants)


def _with_samples(bound: BoundModule, samples: Mapping[str, tuple[int, ...]]) -> BoundModule:
    consultants = {role: _with_samples(each, samples) for role, each in bound.consultants.items()}
    return replace(bound, samples=samples.get(bound.path, ()), consultants=consultants)
