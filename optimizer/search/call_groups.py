"""Which calls a config makes on an example, so that those shared with others are counted once."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pipelines import Tunable
from pipelines.aggregators import (
    AGGREGATORS,
    Cascade,
    ConfidentVote,
    FirstToFinish,
    ShuffledVote,
    aggregator,
)
from pipelines.binding import BoundModule
from search_spaces import MemberConfig
from search_spaces.config import canonical_json


class CallGroup(NamedTuple):
    """One call on every example: equal groups are the same calls."""

    path: str
    """The module, or a role of its aggregator."""
    label: str
    sample: int
    setting: str
    """All else that decides what is asked: own knobs, and the configs of the modules before."""


class ModuleCalls(NamedTuple):
    """The calls of one module, those of its aggregator included."""

    key: str
    """All that decides them: a module with the same key makes the same calls on an example."""
    most: frozenset[CallGroup]
    """It makes at most these; some may turn out not to be needed."""
    sure: frozenset[CallGroup]
    """It makes these whatever they bring."""


def module_calls(
    pipeline: Tunable, bound: Mapping[str, BoundModule], times: Mapping[str, int]
) -> list[ModuleCalls]:
    """What every module of one config asks, in the order of levels.

    Args:
        pipeline: the modules as they are wired.
        bound: each with its config and sample indices, by name.
        times: how often a run asks a module, where that is not once.
    """
    calls = []
    before: dict[str, tuple[str, ...]] = {}
    for name in itertools.chain.from_iterable(pipeline.levels):
        module, needed = bound[name], pipeline.dependencies[name]
        upstream = sorted({text for other in needed for text in before[other]})
        before[name] = (*upstream, f"{name} {module.config_json} {module.all_samples}")
        most = frozenset(_of_module(module, "\n".join(upstream), times.get(name, 1)))
        sure = frozenset(_sure(module, "\n".join(upstream)))
        calls.append(ModuleCalls("\n".join(before[name]), most, sure))
    return calls


def call_groups(calls: Sequence[ModuleCalls]) -> frozenset[CallGroup]:
    """At most these calls one run makes; some may turn out not to be needed."""
    return frozenset().union(*(module.most for module in calls))


def calls_ahead(
    done: Iterable[tuple[Sequence[ModuleCalls], Collection[int]]],
    coming: Iterable[tuple[Sequence[ModuleCalls], Collection[int]]],
) -> dict[CallGroup, int]:
    """At most so many new calls, those that configs share with each other counted once.

    Args:
        done: configs' calls, each with the examples that they were made on.
        coming: the same of what comes next.
    """
    ran: dict[str, set[int]] = {}
    made: dict[CallGroup, set[int]] = {}
    for calls, examples in done:
        for module in calls:
            ran.setdefault(module.key, set()).update(examples)
            for group in module.sure:
                made.setdefault(group, set()).update(examples)
    wanted: dict[CallGroup, set[int]] = {}
    for calls, examples in coming:
        for module in calls:
            new = set(examples) - ran.get(module.key, set())
            for group in module.most:
                wanted.setdefault(group, set()).update(new)
    return {group: len(new - made.get(group, set())) for group, new in wanted.items()}


def _of_module(bound: BoundModule, before: str, times: int) -> Iterator[CallGroup]:
    for turn in range(times):
        for group in [*_members(bound, before), *_greedy(bound, before)]:
            yield group._replace(setting=f"{turn}\n{group.setting}") if turn else group
    for role, consulted in bound.consultants.items():
        kind = aggregator(bound.aggregation).roles[role]
        asked = times * kind.most_times(bound.config.width)
        yield from _of_module(consulted, f"{bound.config_json}{bound.samples}\n{before}", asked)


def _sure(bound: BoundModule, before: str) -> list[CallGroup]:
    """Those members that are asked first; of a user's own aggregator nothing is known."""
    members = list(_members(bound, before))
    if len(members) < 2:
        return members
    made = aggregator(bound.aggregation)
    if isinstance(made, Cascade):
        return members[: made.sizes(bound.members)[0]]
    if isinstance(made, ShuffledVote):  # without options the others may be the same call
        return members[:1]
    return members if bound.aggregation.name in AGGREGATORS else []


def _members(bound: BoundModule, before: str) -> Iterator[CallGroup]:
    made = aggregator(bound.aggregation) if len(bound.samples) > 1 else None
    for place, (member, sample) in enumerate(zip(bound.members, bound.samples, strict=True)):
        setting = own = f"{_settings(bound, member)}\n{before}"
        if isinstance(made, ShuffledVote) and place:  # it sees another order of the options
            own = f"order {place} {made.options}\n{setting}"
        if isinstance(made, FirstToFinish):  # a race is paid as a whole
            own = f"{bound.config_json}\n{setting}"
        if _is_own(bound):  # a user's own aggregator may show each member other inputs
            own = f"{place} {bound.config_json}\n{before}"
        yield CallGroup(bound.path, member.model, sample, own)


def _greedy(bound: BoundModule, before: str) -> Iterator[CallGroup]:
    """The members that are asked again, at temperature 0: a vote in doubt asks one of its own."""
    if len(bound.samples) < 2:
        return
    made, members = aggregator(bound.aggregation), bound.members
    if isinstance(made, ConfidentVote):
        greedy = replace(members[made.member], temperature=0.0)
        yield CallGroup(bound.path, greedy.model, 0, f"{_settings(bound, greedy)}\n{before}")
    elif _is_own(bound):
        for number in range(made.asks_again):
            label = members[number % len(members)].model
            yield CallGroup(bound.path, label, number, f"again {bound.config_json}\n{before}")


def _is_own(bound: BoundModule) -> bool:
    """Whether a user's own aggregator decides, of which little is known."""
    return len(bound.samples) > 1 and bound.aggregation.name not in AGGREGATORS


def _settings(bound: BoundModule, member: MemberConfig) -> str:
    """All but the model and the sample that decides what a member is asked on equal inputs."""
    return canonical_json([member.own, bound.config.params])
