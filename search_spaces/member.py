"""One member of a wide module: its model, and the settings that are its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, replace
from typing import Any

from pydantic import ConfigDict, Field, StrictFloat
from pydantic.dataclasses import dataclass

from search_spaces.refusals import refusing_with

SETTINGS = ("temperature", "instructions", "demos")
"""What a member may set for itself; everything else is the module's."""


def _is_none(value: Any) -> bool:
    return value is None


@refusing_with(ValueError)
@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MemberConfig:
    """A model, and the settings in which it differs from its module.

    A setting of None is the module's.

    Raises:
        ValueError: a value is out of range, or there is no such setting.
    """

    model: str
    """Its label."""
    _: KW_ONLY
    temperature: StrictFloat | None = Field(default=None, ge=0, le=2, exclude_if=_is_none)
    """Its own sampling temperature."""
    instructions: str | None = Field(default=None, exclude_if=_is_none)
    """Its own instructions."""
    demos: tuple[dict[str, Any], ...] | None = Field(default=None, exclude_if=_is_none)
    """Its own worked examples; none for an empty tuple."""

    def __hash__(self) -> int:  # demos have no hash
        return hash((self.model, self.temperature, self.instructions))

    @property
    def own(self) -> dict[str, Any]:
        """The member's own settings by name."""
        values = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in values.items() if value is not None}

    def resolved(self, module: Mapping[str, Any]) -> MemberConfig:
        """The same member with the module's settings where it has none of its own."""
        missing = {k: v for k, v in module.items() if v is not None and getattr(self, k) is None}
        return replace(self, **missing) if missing else self

    def without(self, module: Mapping[str, Any]) -> MemberConfig:
        """The same member without the settings that equal the module's."""
        own = {name: v for name, v in self.own.items() if not same(v, module[name])}
        return MemberConfig(self.model, **own)


def normal_form(
    members: Sequence[MemberConfig], module: Mapping[str, Any]
) -> tuple[tuple[MemberConfig, ...], dict[str, Any]]:
    """The form shared by all equivalent members and module settings.

    A setting that all members share becomes the module's, and a member's own setting that equals
    the module's is dropped.
    """
    resolved = [member.resolved(module) for member in members]
    settings = dict(module)
    for name in SETTINGS:
        first, *others = (getattr(member, name) for member in resolved)
        if all(same(other, first) for other in others):
            settings[name] = first
    return tuple(member.without(settings) for member in resolved), settings


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def same(one: Any, other: Any) -> bool:
    """Whether two settings are written alike: `True` and 1 are equal, but make other prompts."""
    if one is other:
        return True
    return bool(one == other) and canonical_json(one) == canonical_json(other)
