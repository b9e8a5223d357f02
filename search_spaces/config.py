"""A config: one value for every knob of every module."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class ModuleConfig(BaseModel):
    """The values of one module's knobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ()
    """Model labels: one for all members, or one per member; empty for a function module."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature; None leaves it to the provider."""
    width: int = Field(default=1, ge=1)
    """How many members answer."""
    aggregator: str | None = None
    """What turns the members' answers into one; needed when `width` is above 1."""
    instructions: str | None = None
    """The prompt's instructions; None leaves what the signature says."""
    demos: tuple[dict[str, Any], ...] = ()
    """Worked examples shown in the prompt."""
    params: dict[str, Any] = Field(default_factory=dict)
    """A function module's own parameters."""


class Difference(NamedTuple):
    """One knob that two configs set differently."""

    module: str
    knob: str
    old: Any
    new: Any


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
        """The model part: labels by module, without the modules that call no model."""
        return {name: module.models for name, module in self.modules.items() if module.models}

    @property
    def calls_per_run(self) -> int:
        """How many calls one run of the pipeline makes: one for every member of every module."""
        return sum(module.width for module in self.modules.values() if module.models)

    def with_models(self, models: Mapping[str, str | tuple[str, ...]]) -> PipelineConfig:
        """A copy in which the named modules use other models.

        Raises:
            KeyError: a name is not a module of this config that calls a model.
        """
        changed = dict(self.modules)
        for name, labels in models.items():
            if name not in self.allocation:
                raise KeyError(f"{name!r} calls no model; those that do: {list(self.allocation)}")
            chosen = (labels,) if isinstance(labels, str) else tuple(labels)
            changed[name] = changed[name].model_copy(update={"models": chosen})
        return PipelineConfig(modules=changed)

    def differences(self, other: PipelineConfig) -> tuple[Difference, ...]:
        """Every knob whose value here (`old`) is another in `other` (`new`), in module order."""
        return tuple(
            Difference(name, knob, getattr(module, knob), getattr(other.modules[name], knob))
            for name, module in self.modules.items()
            for knob in ModuleConfig.model_fields
            if getattr(module, knob) != getattr(other.modules[name], knob)
        )


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
