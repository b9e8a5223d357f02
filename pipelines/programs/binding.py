"""Binds a config: each module gets its models, sample indices and the modules it consults."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pipelines import aggregators
from pipelines.gateway.model import Model
from pipelines.modules.function_identity import function_identity
from pipelines.modules.functions import call_function
from pipelines.modules.module import Module
from pipelines.modules.signature import own_instructions, signature_identity
from pipelines.programs.memo import fingerprint
from pipelines.programs.trace import MemoKey
from pipelines.spec.tunable import Tunable
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json


@dataclass(frozen=True)
class BoundModule:
    """A module with a value for each knob."""

    module: Module
    config: ModuleConfig
    after: tuple[str, ...] = ()
    """The modules whose outputs it reads."""
    samples: tuple[int, ...] = ()
    """Sample index by member."""
    models: tuple[Model, ...] = ()
    """Model by member."""
    path: str = ""
    """Its name, or that of a module that an aggregator consults, such as `solve.judge`."""
    consultants: Mapping[str, BoundModule] = field(default_factory=dict)
    """The modules that its aggregator consults, by role."""
    sees: str = ""
    """The field in which a consulted module sees candidates."""

    @property
    def name(self) -> str:
        """The module's name."""
        return self.module.name

    @property
    def instructions(self) -> str | None:
        """The config's instructions, else the module's, else those of its signature's class."""
        given = self.config.instructions
        if given is None:
            given = self.module.instructions
        return own_instructions(self.module.signature) if given is None else given

    @cached_property
    def members(self) -> tuple[MemberConfig, ...]:
        """Every member with the settings and instructions that it runs with."""
        instructions = self.instructions
        return tuple(
            replace(member, instructions=instructions) if member.instructions is None else member
            for member in self.config.resolved_members
        )

    @property
    def aggregation(self) -> AggregatorConfig:
        """The aggregator's config; a wide module always has one."""
        assert self.config.aggregation is not None
        return self.config.aggregation

    def prompt(self, member: MemberConfig) -> str:
        """Everything that determines the prompt of one of `members` for given inputs."""
        decides = [signature_identity(self.module.signature), self.module.strategy]
        decides += [str(member.instructions), canonical_json(member.demos)]
        form = self.config.reply_format
        return "\n".join(decides if form == "chat" else [*decides, form])

    @cached_property
    def all_samples(self) -> tuple[int, ...]:
        """Sample indices of its members and of the modules that its aggregator consults."""
        consulted = (each.all_samples for each in self.consultants.values())
        return (*self.samples, *itertools.chain.from_iterable(consulted))

    def walk(self) -> Iterator[BoundModule]:
        """This module and all consulted ones, at any depth."""
        yield self
        for each in self.consultants.values():
            yield from each.walk()

    @cached_property
    def reads(self) -> tuple[tuple[str, str], ...]:
        """Pairs of own input field and the pipeline's field that it reads."""
        return tuple((own, self.module.pipeline_field(own)) for own in self.module.input_fields)

    @cached_property
    def writes(self) -> tuple[tuple[str, str], ...]:
        """Pairs of own output field and the pipeline's field, the chain of thought included."""
        return tuple((own, self.module.pipeline_field(own)) for own in self.module.output_fields)

    @cached_property
    def config_json(self) -> str:
        """The config's canonical JSON."""
        return canonical_json(self.config.model_dump(mode="json"))

    def memo_key(self, inputs: Mapping[str, Any]) -> MemoKey | None:
        """The memo key of a step on these inputs; None if they have no exact JSON."""
        received = fingerprint(inputs)
        if received is None:
            return None
        return MemoKey(self.module.name, self.config_json, self.all_samples, received)

    @cached_property
    def code(self) -> str:
        """What identifies the function of a function module."""
        return function_identity(self.module.callable)

    def own_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The pipeline's values under this module's own field names."""
        return {own: inputs[wired] for own, wired in self.reads}

    def wired_outputs(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """This module's record under the pipeline's field names."""
        return {wired: record[own] for own, wired in self.writes}

    def call_function(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The function's outputs for the pipeline's values, under the pipeline's names."""
        params = {**self.module.params, **self.config.params}
        fields = [own for own, _ in self.writes]
        function = self.module.callable
        return self.wired_outputs(call_function(function, self.own_inputs(inputs), params, fields))


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
