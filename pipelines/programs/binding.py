"""A module together with its config: everything that is fixed before the first example."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pipelines.gateway.model import Model
from pipelines.modules.function_identity import function_identity
from pipelines.modules.functions import call_function
from pipelines.modules.module import Module
from pipelines.modules.signature import own_instructions, signature_identity
from pipelines.programs.memo import fingerprint
from pipelines.programs.trace import MemoKey
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig
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
        form = self.config.reply_format
        return "\n".join(
            (
                signature_identity(self.module.signature),
                self.module.strategy,
                str(member.instructions),
                canonical_json(member.demos),
                *([] if form == "chat" else [form]),
            )
        )

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
