"""A config: one value for every knob of every module."""

from __future__ import annotations

import hashlib
import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    field_validator,
    model_validator,
)

from search_spaces.member import SETTINGS, MemberConfig, normal_form, same
from search_spaces.member import canonical_json as canonical_json
from search_spaces.refusals import Whole, refusing_with


def _as_member(given: Any) -> Any:
    """A label alone is a member with no settings of its own."""
    return MemberConfig(given) if isinstance(given, str) else given


ReplyFormat = Literal["chat", "json", "xml"]
"""How a model is to write its outputs: as DSPy's ChatAdapter, JSONAdapter or XMLAdapter asks."""


MAX_WIDTH = 1000
"""The most members of one module; a larger number is a mistake, and would fill the memory."""


@refusing_with(ValueError)
class AggregatorConfig(BaseModel):
    """What turns members' answers into one, with its parameters and the models that it asks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    """As the aggregator's documentation names them; those left out keep their defaults."""
    modules: dict[str, ModuleConfig] = Field(default_factory=dict)
    """The knobs of the aggregator's own calls to language models, by role, such as `judge`."""


@refusing_with(ValueError)
class ModuleConfig(BaseModel):
    """The values of one module's knobs.

    Equal values have one form: a setting that all members share becomes the module's, a member's
    setting that equals the module's becomes None, and members that differ in nothing but the model
    become `models`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ()
    """Model labels: one for all members, or one per member; empty for a function module. Filled in
    where `members` are given."""
    members: tuple[Annotated[MemberConfig, BeforeValidator(_as_member)], ...] = Field(
        default=(), exclude_if=operator.not_
    )
    """One per member, if any has its own temperature, instructions or demos; else empty. Labels
    among them are members without settings of their own. See also `resolved_members`."""
    temperature: StrictFloat | None = Field(default=None, ge=0, le=2)
    """Sampling temperature; None leaves it to the provider."""
    width: Whole = Field(default=1, ge=1, le=MAX_WIDTH)
    """How many members answer. Filled in where `members` are given."""
    aggregator: str | AggregatorConfig | None = None
    """What turns the members' answers into one; needed when `width` is above 1. An
    `AggregatorConfig` with nothing but a name becomes that name."""
    instructions: str | None = None
    """The prompt's instructions; None leaves what the signature says."""
    demos: tuple[dict[str, Any], ...] = ()
    """Worked examples shown in the prompt."""
    reply_format: ReplyFormat = Field(default="chat", exclude_if="chat".__eq__)
    """`chat` is DSPy's default; in a DSPy program it is the adapter that `dspy.configure` sets.
    `json` also sends the fields' JSON schema, where the model's server takes one."""
    params: dict[str, Any] = Field(default_factory=dict)
    """A function module's own parameters; the `reasoning_effort` of a module that asks a model."""

    @field_validator("aggregator", mode="after")
    @classmethod
    def _named(cls, given: str | AggregatorConfig | None) -> str | AggregatorConfig | None:
        """One way to write each: equal configs have equal keys."""
        if isinstance(given, AggregatorConfig) and not given.params and not given.modules:
            return given.name
        return given

    @property
    def aggregation(self) -> AggregatorConfig | None:
        """The aggregator with its parameters and roles; None if there is none."""
        if isinstance(self.aggregator, str):
            return AggregatorConfig(name=self.aggregator)
        return self.aggregator

    @property
    def roles(self) -> dict[str, ModuleConfig]:
        """The aggregator's own calls to language models, by role."""
        return self.aggregation.modules if self.aggregation else {}

    @model_validator(mode="after")
    def _normalized(self) -> Self:
        """See the class."""
        if not self.members:
            return self
        self._check_members()
        members, settings = normal_form(self.members, self.settings)
        labels = tuple(member.model for member in members)
        changed = {
            "models": labels[:1] if len(set(labels)) == 1 else labels,
            "members": members if any(member.own for member in members) else (),
            "width": len(members),
            **{name: v for name, v in settings.items() if not same(v, getattr(self, name))},
        }
        for knob, value in changed.items():
            object.__setattr__(self, knob, value)
        self.model_fields_set.update(changed)
        return self

    def _check_members(self) -> None:
        """The width and the models, where they are given too, must be those of the members."""
        count, labels = len(self.members), self.labels
        if count > MAX_WIDTH:
            raise ValueError(f"members must be at most {MAX_WIDTH}, but got {count}")
        if "width" in self.model_fields_set and self.width != count:
            raise ValueError(f"members must be as many as the width {self.width}, but got {count}")
        models = self.models * count if len(self.models) == 1 else self.models
        if "models" in self.model_fields_set and models != labels:
            raise ValueError(
                f"models must be those of the members {list(labels)}, but got {list(self.models)}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Model label by member."""
        if self.members:
            return tuple(member.model for member in self.members)
        return self.models if len(self.models) == self.width else self.models * self.width

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that members without their own use, by name."""
        return {name: getattr(self, name) for name in SETTINGS}

    @property
    def resolved_members(self) -> tuple[MemberConfig, ...]:
        """Every member with the settings that it runs with: its own, else the module's."""
        members = self.members or map(MemberConfig, self.labels)
        return tuple(member.resolved(self.settings) for member in members)

    @property
    def all_demos(self) -> tuple[dict[str, Any], ...]:
        """The worked examples of the module and of its members."""
        return sum((member.demos or () for member in self.members), self.demos)

    def own_knobs(self) -> dict[str, Any]:
        """The values of all knobs by name, without the parameters.

        Of `members`, only their own settings: their models are in `models`.
        """
        own = {"members": tuple(member.own for member in self.members)}
        return {knob: own.get(knob, value) for knob, value in self if knob != "params"}

    def with_knobs(self, **knobs: Any) -> Self:
        """A copy with other values for some knobs; `models` alone leaves members their settings.

        Raises:
            ValueError: a knob can't have that value.
        """
        kept = {knob: getattr(self, knob) for knob in self.model_fields_set}
        models = knobs.get("models")
        if knobs.get("members"):
            kept = {k: value for k, value in kept.items() if k not in ("models", "width")}
        elif models is not None and {"members", "width"} & knobs.keys():
            kept.pop("members", None)
        elif models is not None and len(models) in {1, len(self.members)}:
            labels = models * len(self.members) if len(models) == 1 else models
            pairs = zip(self.members, labels, strict=False)
            kept["members"] = tuple(replace(member, model=label) for member, label in pairs)
        return type(self)(**{**kept, **knobs})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; unlike pydantic's own, it checks and normalizes what is updated."""
        return self.with_knobs(**update) if update else super().model_copy(deep=deep)

    def with_network(self, network: ModuleConfig) -> ModuleConfig:
        """A copy with the knobs that the network sets."""
        return self.with_knobs(
            **{knob: getattr(network, knob) for knob in network.model_fields_set}
        )

    def with_members(
        self, members: Sequence[str | MemberConfig], aggregator: AggregatorConfig | None
    ) -> ModuleConfig:
        """A copy with these members and their aggregator; a label is a member without settings of
        its own."""
        labels = tuple(member for member in members if isinstance(member, str))
        if len(labels) < len(members):
            return self.with_knobs(members=tuple(members), aggregator=aggregator)
        models = labels[:1] if len(set(labels)) == 1 else labels
        return self.with_knobs(models=models, width=len(labels), aggregator=aggregator)

    def walk(self, path: str) -> Iterator[tuple[str, ModuleConfig]]:
        """This config and those of its aggregator's roles at any depth, each with its path."""
        yield path, self
        for role, module in self.roles.items():
            yield from module.walk(f"{path}.{role}")

    def with_role(self, path: Sequence[str], change: Mapping[str, Any]) -> ModuleConfig:
        """A copy with changed knobs: its own, or those of the role at this path."""
        if not path:
            return self.with_knobs(**change)
        aggregation = self.aggregation
        if aggregation is None or path[0] not in aggregation.modules:
            raise KeyError(path[0])
        module = aggregation.modules[path[0]].with_role(path[1:], change)
        modules = {**aggregation.modules, path[0]: module}
        changed = aggregation.model_copy(update={"modules": modules})
        return self.model_copy(update={"aggregator": changed})


AggregatorConfig.model_rebuild()  # it refers to ModuleConfig


LEFT_OUT: Any = object()
"""Stands for a parameter that a config does not set, so that the function's default holds."""


class Difference(NamedTuple):
    """One knob that two configs set differently."""

    module: str
    knob: str
    old: Any
    new: Any


@refusing_with(ValueError)
class PipelineConfig(BaseModel):
    """The values of every knob of a pipeline: frozen, with canonical JSON and a stable key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modules: dict[str, ModuleConfig]

    def canonical_json(self) -> str:
        """The same text for equal configs, whatever the order of modules and parameters."""
        return canonical_json(self.model_dump(mode="json"))

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits, stable across processes and platforms."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]

    @property
    def allocation(self) -> dict[str, tuple[str, ...]]:
        """The model part: labels by module, without the modules that call no model.

        An aggregator's own calls are modules too, under names such as `solve.judge`.
        """
        walked = (pair for name, module in self.modules.items() for pair in module.walk(name))
        return {path: module.models for path, module in walked if module.models}

    @property
    def labels(self) -> tuple[str, ...]:
        """Every distinct label of the allocation, in the order of modules and members."""
        return tuple(dict.fromkeys(itertools.chain.from_iterable(self.allocation.values())))

    @property
    def single_model(self) -> str | None:
        """The label that all modules have in common, each asked once; None if there is none."""
        return self.labels[0] if len(self.labels) == 1 and not self.is_wide else None

    @property
    def is_wide(self) -> bool:
        """Whether a module has several members."""
        return any(module.width > 1 for module in self.modules.values())

    def with_single_model(self, label: str) -> PipelineConfig:
        """A copy with this model in place of all others; widths stay."""
        return self.with_models(dict.fromkeys(self.allocation, label))

    def with_module(self, name: str, module: ModuleConfig) -> PipelineConfig:
        """A copy with another config of one module."""
        return PipelineConfig(modules={**self.modules, name: module})

    def with_models(self, models: Mapping[str, str | tuple[str, ...]]) -> PipelineConfig:
        """A copy in which the named modules, such as `solve` or `solve.judge`, use other models.

        Raises:
            KeyError: a name is not a module of this config that calls a model.
        """
        changed = self
        for name, labels in models.items():
            if name not in self.allocation:
                raise KeyError(f"{name!r} calls no model; those that do: {list(self.allocation)}")
            chosen = (labels,) if isinstance(labels, str) else tuple(labels)
            changed = changed.with_knobs(name, models=chosen)
        return changed

    def with_knobs(self, name: str, **knobs: Any) -> PipelineConfig:
        """A copy in which one module, such as `solve` or `solve.judge`, has other knobs.

        Raises:
            KeyError: there is no module of that name.
            ValueError: a knob can't have that value.
        """
        try:
            top, path = self.place(name)
            module = self.modules[top].with_role(path, knobs)
        except KeyError:
            known = [path for name, module in self.modules.items() for path, _ in module.walk(name)]
            raise KeyError(f"there is no module {name!r}; there are {known}") from None
        return self.with_module(top, module)

    def part(self, name: str) -> ModuleConfig:
        """The knobs of a module, or of an aggregator's role, such as `solve.judge`.

        Raises:
            KeyError: there is none of that name.
        """
        top, path = self.place(name)
        module = self.modules[top]
        for role in path:
            module = module.roles[role]
        return module

    def place(self, name: str) -> tuple[str, tuple[str, ...]]:
        """The module that a name such as `solve.judge` begins with, and the roles that follow.

        Names of modules of DSPy programs may have dots, too.

        Raises:
            KeyError: no module has that name, or the beginning of it.
        """
        owners = (m for m in self.modules if name == m or name.startswith(f"{m}."))
        owner = max(owners, key=len, default=None)
        if owner is None:
            raise KeyError(name)
        rest = name.removeprefix(owner).removeprefix(".")
        return owner, tuple(rest.split(".")) if rest else ()

    def differences(self, other: PipelineConfig) -> tuple[Difference, ...]:
        """Every knob that differs between this config (`old`) and `other` (`new`), in module order.

        Each parameter is a knob of its own; one that is not set is `LEFT_OUT`.
        """
        changed = []
        for name, before in self.modules.items():
            after = other.modules[name]
            for old, new in (
                (before.own_knobs(), after.own_knobs()),
                (before.params, after.params),
            ):
                for knob in {**old, **new}:
                    pair = old.get(knob, LEFT_OUT), new.get(knob, LEFT_OUT)
                    if pair[0] != pair[1]:
                        changed.append(Difference(name, knob, *pair))
        return tuple(changed)
