"""Binds a config: each module gets its models, sample indices and the modules it consults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace

from pipelines import aggregators
from pipelines.gateway.model import Model
from pipelines.modules.module import Module
from pipelines.programs.binding import BoundModule
from pipelines.spec.tunable import Tunable
from search_spaces import MemberConfig, ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json


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
        """Every module with its part of the config, its models and its sample indices, by name."""
        bound = {m.name: self._of(m, config.modules[m.name]) for m in self._pipeline.modules}
        asking = [each for one in bound.values() if one.module.is_llm for each in one.walk()]
        samples = sample_indices(asking)
        return {name: self._with(each, samples) for name, each in bound.items()}

    def _of(self, module: Module, config: ModuleConfig) -> BoundModule:
        name, key = module.name, (module.name, id(config))
        if key not in self._bound:
            self._bound[key] = _bind(module, config, name, self._models, self._after[name])
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


def sample_indices(bound_modules: Iterable[BoundModule]) -> dict[str, tuple[int, ...]]:
    """Sample index by member of each module, by its path, in the order of the pipeline.

    Equal calls must not share one draw: members of a wide module that ask the same model with the
    same settings, and twins (members of modules of one signature and strategy, with the same
    instructions and demos) that ask the same model at the same temperature above 0, count up from
    0. Members with another prompt or temperature make other calls, and count by themselves. At
    temperature 0 a model has one answer, so every index is 0. With no temperature given, members
    still count and twins do not.
    """
    drawn: Counter[Hashable] = Counter()
    indices = {}
    for bound in bound_modules:
        samples = []
        for member in bound.members:
            among = _alike(bound, member)
            samples.append(0 if member.temperature == 0 else drawn[among])
            drawn[among] += 1
        indices[bound.path] = tuple(samples)
    return indices


def _alike(bound: BoundModule, member: MemberConfig) -> Hashable:
    """What two members have in common when their calls on equal inputs are equal."""
    module = bound.module
    prompt = member.instructions, canonical_json(member.demos), bound.config.reply_format
    if not member.temperature:
        return bound.path, member.model, prompt, member.temperature
    fields = (*module.input_fields.items(), None, *module.output_fields.items())
    return fields, module.strategy, member.model, prompt, member.temperature
