"""Which calls a config makes on an example, so that those shared with others are counted once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelines import Pipeline
from search_spaces import ModuleConfig, PipelineConfig
from search_spaces.config import ASKED_ONCE, canonical_json


class CallGroup(NamedTuple):
    """One call on every example: equal groups are the same calls."""

    path: str
    """The module, or a role of its aggregator."""
    label: str
    sample: int
    setting: str
    """All else that decides what is asked: own knobs, and the configs of the modules before."""


def call_groups(pipeline: Pipeline, config: PipelineConfig) -> frozenset[CallGroup]:
    """At most these calls one run makes; some may turn out not to be needed."""
    found: set[CallGroup] = set()
    before: dict[str, tuple[str, ...]] = {}
    for name in itertools.chain.from_iterable(pipeline.levels):
        needed = pipeline.dependencies[name]
        upstream = sorted({text for other in needed for text in before[other]})
        before[name] = (*upstream, f"{name} {canonical_json(config.modules[name].model_dump())}")
        found.update(_of_module(name, config.modules[name], "\n".join(upstream), 1))
    return frozenset(found)


def _of_module(path: str, module: ModuleConfig, before: str, times: int) -> Iterator[CallGroup]:
    if not module.models:
        return
    knobs = module.model_dump(exclude={"models", "width", "aggregator"})
    setting = f"{canonical_json(knobs)}\n{before}"
    for turn in range(times):
        for label, sample in _draws(module):
            yield CallGroup(path, label, sample, f"{turn}\n{setting}" if turn else setting)
    whole = canonical_json(module.model_dump())
    for role, consulted in module.roles.items():
        asked = times * (1 if role in ASKED_ONCE else module.width)
        yield from _of_module(f"{path}.{role}", consulted, f"{whole}\n{before}", asked)


def _draws(module: ModuleConfig) -> Sequence[tuple[str, int]]:
    """Label and sample index by member, as `pipelines.samples` counts them."""
    drawn: Counter[str] = Counter()
    draws = []
    for label in module.members:
        draws.append((label, 0 if module.temperature == 0 else drawn[label]))
        drawn[label] += 1
    return draws
