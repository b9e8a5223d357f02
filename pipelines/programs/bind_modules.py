"""Binds a config: each module gets its models, sample indices and the modules it consults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipelines import aggregators
from pipelines.gateway.model import Model
from pipelines.modules.module import Module
from pipelines.programs.binding import BoundModule
from pipelines.programs.samples import sample_indices
from pipelines.spec.tunable import Tunable
from search_spaces import ModuleConfig, PipelineConfig


def bind_modules(
    pipeline: Tunable, config: PipelineConfig, models: Mapping[str, Model]
) -> dict[str, BoundModule]:
    """Every module with its part of the config, its models and its sample indices, by name."""
    return Binder(pipeline, models).bind(config)


class Binder:
    """Binds configs of one pipeline; a module that configs have in common is bound once.

    Configs that differ in one module share the objects of the others, by which these are known.
    """

    def __init__(self, pipeline: Tunable, models: Mapping[str, Model]) -> None:
        self._pipeline = pipeline
        self._models = models
        self._after = pipeline.dependencies
        self._bound: dict[tuple[str, int], BoundModule] = {}
        """By module and the identity of its config, which a bound module keeps alive."""
        self._sampled: dict[tuple[int, tuple[tuple[int, ...], ...]], BoundModule] = {}
        """By the identity of one of those, and its sample indices."""

    def bind(self, config: PipelineConfig) -> dict[str, BoundModule]:
        """See `bind_modules`."""
        bound = {m.name: self._of(m, config.modules[m.name]) for m in self._pipeline.modules}
        asking = [each for one in bound.values() if one.module.is_llm for each in one.walk()]
        samples = sample_indices(asking)
        return {name: self._with(each, samples) for name, each in bound.items()}

    def _of(self, module: Module, config: ModuleConfig) -> BoundModule:
        key = module.name, id(config)
        if key not in self._bound:
            after = self._after[module.name]
            self._bound[key] = _bind(module, config, module.name, self._models, after)
        return self._bound[key]

    def _with(self, bound: BoundModule, samples: Mapping[str, tuple[int, ...]]) -> BoundModule:
        key = id(bound), tuple(samples.get(each.path, ()) for each in bound.walk())
        if key not in self._sampled:
            self._sampled[key] = _with_samples(bound, samples)
        return self._sampled[key]


def _bind(
    module: Module,
    config: ModuleConfig,
    path: str,
    models: Mapping[str, Model],
    after: tuple[str, ...] = (),
    sees: str = "",
) -> BoundModule:
    """The module with its models, and the modules that its aggregator consults."""
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
