"""The differences between two configs as short texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from optimizer.formatting import counted, setting
from optimizer.search.records.trial import config_text, module_text, shortened
from search_spaces import ModuleConfig, PipelineConfig
from search_spaces.config import LEFT_OUT

LONGEST = 60
"""Characters of a value; the report has prompts in full."""
_NETWORK = {"models", "members", "width", "aggregator"}


class Change(NamedTuple):
    """One knob that differs."""

    knob: str
    """As `solve.model`."""
    old: str
    new: str


def config_changes(before: PipelineConfig, after: PipelineConfig) -> list[Change]:
    """All differences, in module order.

    Members and their aggregator are one change of a network, in the short notation, followed by the
    members' own prompts. Another pipeline is one change.
    """
    if before.modules.keys() != after.modules.keys():
        return [Change("pipeline", config_text(before), config_text(after))]
    changes: dict[str, Change] = {}
    for name, knob, old, new in before.differences(after):
        modules = before.modules[name], after.modules[name]
        if knob in _NETWORK and max(module.width for module in modules) > 1:
            network = Change(f"{name}.network", *map(module_text, modules))
            own = list(_member_changes(name, old, new)) if knob == "members" else []
            own += _role_changes(name, *modules) if knob == "aggregator" else []
            if not own or network.old != network.new:
                changes.setdefault(network.knob, network)
            changes |= {change.knob: change for change in own}
        else:
            shown = "model" if knob == "models" else knob
            changes[f"{name}.{knob}"] = Change(f"{name}.{shown}", *_values(old, new))
    return list(changes.values())


def changed_text(before: PipelineConfig, after: PipelineConfig) -> str:
    """All differences in one line: `solve.model: a -> b; solve.temperature: as given -> 0.7`."""
    changes = config_changes(before, after)
    return "; ".join(f"{change.knob}: {change.old} -> {change.new}" for change in changes)


def _member_changes(
    module: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> Iterator[Change]:
    """Changes of the members' own instructions and demos."""
    for place, (before, after) in enumerate(zip_longest(old, new, fillvalue=dict[str, Any]())):
        for knob in ("instructions", "demos"):
            pair = before.get(knob), after.get(knob)
            if pair[0] != pair[1]:
                yield Change(f"{module}.members.{place}.{knob}", *_values(*pair))


def _role_changes(name: str, before: ModuleConfig, after: ModuleConfig) -> Iterator[Change]:
    """Changes of the instructions and demos of what the aggregator asks."""
    had = dict(before.walk(name))
    for path, role in after.walk(name):
        if path != name and path in had:
            for knob in ("instructions", "demos"):
                pair = getattr(had[path], knob), getattr(role, knob)
                if pair[0] != pair[1]:
                    yield Change(f"{path}.{knob}", *_values(*pair))


def _values(old: Any, new: Any) -> tuple[str, str]:
    """Both as short texts; of long texts that begin alike, the part around the first difference."""
    if isinstance(old, str) and isinstance(new, str):
        apart = (place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
        alike = next(apart, min(len(old), len(new)))
        if alike > LONGEST // 2:
            old, new = (f"…{text[alike - LONGEST // 4 :]}" for text in (old, new))
    return _value(old), _value(new)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        if all(isinstance(item, str) for item in value):
            return ", ".join(value) or "none"
        return counted(len(value), "demo")
    if isinstance(value, dict):
        return ", ".join(f"{name}={setting(one)}" for name, one in value.items()) or "none"
    if value is None or value is LEFT_OUT:
        return "as given"
    return shortened(setting(value), LONGEST)
