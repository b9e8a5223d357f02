"""Networks that need no new call: votes and cascades of members that have answered already."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from optimizer.search.state import SearchState
from optimizer.stages.structure.knobs import Knobs, with_all_params
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig, PipelineConfig
from search_spaces.member import SETTINGS

MOST_MIXED = 7
"""How many members of a module are mixed at most: those that did best by themselves."""
MOST_NETWORKS = 200
"""How many are scored at a time at most; each takes some milliseconds of CPU."""
PAID_SHARES = (1.0, 0.5, 0.25)
"""Networks are scored on these shares of the search examples, if their members answered them."""
AGREEMENTS = (0.6, 1.0)
"""Shares of a cascade's first step that must agree: most of it, or all."""

Asked = TypeVar("Asked", str, MemberConfig)


@dataclass
class Pool:
    """The members of one module that were asked on equal inputs."""

    rest: ModuleConfig
    """The settings that are not members' own, such as parameters."""
    draws: Counter[MemberConfig] = field(default_factory=Counter)
    """How many samples of each member there are."""


def paid_networks(
    state: SearchState, knobs: Knobs, module: str, size: int, done: set[str]
) -> list[PipelineConfig]:
    """Networks of one module whose members' answers to the first examples are paid for.

    The rest of the pipeline is as in the incumbent, so that the module received the same inputs.

    Args:
        state: of the search.
        knobs: what the module may have.
        module: its name.
        size: how many of the search examples its members have answered.
        done: keys of configs that were looked at before; extended.
    """
    found: list[PipelineConfig] = []
    for pool in pools(state, module, size):
        best = ranked(state, module, list(pool.draws), pool.rest)[:MOST_MIXED]
        for made in _networks(knobs, module, pool.rest, pool.draws, best):
            config = state.incumbent.with_module(module, made)
            if len(found) < MOST_NETWORKS and config.key not in done and knobs.makes_sense(config):
                done.add(config.key)
                found.append(config)
    return found


def pools(state: SearchState, module: str, size: int) -> list[Pool]:
    """The members that answered on the incumbent's inputs for `size` examples."""
    pools: dict[str, Pool] = {}
    others = _without(state.incumbent, module)
    for config in state.raced():
        own = config.modules[module]
        if _without(config, module) != others or state.seen(config) < size:
            continue
        no_members = {"models": (), "width": 1, "aggregator": None}
        rest = own.with_knobs(**no_members, **ModuleConfig().settings)
        pool = pools.setdefault(rest.model_dump_json(), Pool(rest))
        asked = Counter(_asked_first(own))
        for member in asked:
            if member.temperature == 0:  # all its samples are one
                asked[member] = 1
        pool.draws |= asked  # the most samples that any config asked for
    return list(pools.values())


def _asked_first(own: ModuleConfig) -> Sequence[MemberConfig]:
    """The members that are asked on every example, whatever others answer."""
    members, name = own.resolved_members, own.aggregation and own.aggregation.name
    return {"cascade": members[:1], "route": ()}.get(name or "", members)


def _without(config: PipelineConfig, module: str) -> Mapping[str, ModuleConfig]:
    return {name: own for name, own in config.modules.items() if name != module}


def ranked(
    state: SearchState, module: str, members: Sequence[Asked], setting: ModuleConfig
) -> list[Asked]:
    """Members by their score alone in the module, best first, equal ones by price.

    For members that never ran alone there, the score with their model in all modules counts.

    Args:
        members: with the settings that they run with, or labels.
        setting: the module's other knobs.
    """

    def merit(member: Asked) -> tuple[float, float]:
        label = member if isinstance(member, str) else member.model
        own = setting.with_members([member], None)
        alone = state.incumbent.with_module(module, own)
        for config in (alone, state.singles.get(label, alone)):
            known = state.evaluator.known(config)
            if known.scores:
                return (-known.mean, known.usd_per_example)
        return (0.0, 0.0)

    return sorted(members, key=merit)


def _networks(
    knobs: Knobs,
    module: str,
    rest: ModuleConfig,
    draws: Mapping[MemberConfig, int],
    members: Sequence[MemberConfig],
) -> Iterator[ModuleConfig]:
    """Votes of every sampled width, mixes and cascades, of aggregators that ask no model."""
    free = [c for c in knobs.aggregations(module).values() if not c.modules]
    votes = [
        each for config in free if config.name != "cascade" for each in with_all_params(config)
    ]
    widths = sorted({width for width in knobs.space.of("width", module) if width > 1})
    if not widths:
        return
    distinct = knobs.space.distinct(module)
    alike = [(one,) * width for one in members for width in range(2, draws[one] + 1)]
    mixed = itertools.chain.from_iterable(itertools.combinations(members, w) for w in widths)
    for chosen in itertools.chain(alike, mixed):
        if not distinct or _of_different_models(chosen):
            yield from (network(rest, chosen, each) for each in votes)
    for config in free:
        if config.name == "cascade":
            for steps, cascade in _cascades(config, members):
                if not distinct or _of_different_models(steps):
                    yield network(rest, steps, cascade)


def _of_different_models(members: Sequence[MemberConfig]) -> bool:
    return len({member.model for member in members}) == len(members)


def network(
    rest: ModuleConfig, members: Sequence[MemberConfig], aggregation: AggregatorConfig
) -> ModuleConfig:
    """The module takes its first member's settings, where no member leaves them to the provider."""
    values = {name: [getattr(member, name) for member in members] for name in SETTINGS}
    own = {name: each[0] for name, each in values.items() if None not in each}
    return rest.with_knobs(**own).with_members(members, aggregation)


def _cascades(
    config: AggregatorConfig, members: Sequence[MemberConfig]
) -> Iterator[tuple[tuple[MemberConfig, ...], AggregatorConfig]]:
    """Cascades that ask another member unless the first two or three agree."""
    for last in members:
        others = [member for member in members if member != last]
        for width in (2, 3):
            for first in itertools.combinations(others, width):
                for share in AGREEMENTS if width > 2 else (1.0,):
                    steps = {"steps": [width, 1], "agreement": share}
                    cascade = AggregatorConfig(name="cascade", params={**steps, **config.params})
                    yield (*first, last), cascade
