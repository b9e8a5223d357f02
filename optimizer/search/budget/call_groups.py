"""Which calls a config makes on an example, and which of them it shares with other configs."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pipelines import Tunable
from pipelines.aggregators import (
    AGGREGATORS,
    Cascade,
    ConfidentVote,
    FirstToFinish,
    Route,
    ShuffledVote,
    aggregator,
)
from pipelines.modules.signature import signature_identity
from pipelines.programs.binding import BoundModule
from search_spaces import MemberConfig
from search_spaces.config import canonical_json


class CallGroup(NamedTuple):
    """One call on every example: equal groups are the same calls."""

    asked: str
    """What is asked, about which fields: modules that ask the same, as solvers of a vote do, make
    the same calls."""
    label: str
    sample: int
    setting: str
    """A digest of all else that decides what is asked: own knobs, and the modules before."""


class ModuleCalls(NamedTuple):
    """The calls of one module, those of its aggregator included."""

    module: str
    key: str
    """Everything that decides the calls: modules with equal keys make the same ones."""
    most: frozenset[CallGroup]
    """It makes at most these; some may turn out not to be needed."""
    sure: frozenset[CallGroup]
    """It makes these whatever the replies are."""


class _Own(NamedTuple):
    """The calls of a module, whatever comes before it."""

    bound: BoundModule
    text: str
    """Decides its calls."""
    most: Sequence[CallGroup]
    sure: Sequence[CallGroup]
    """Both as in `ModuleCalls`, without the modules before."""


class CallPlanner:
    """Works out the calls of configs; what configs share is worked out once.

    Args:
        pipeline: the modules as they are wired.
        times: how often a run asks a module, where that is not once.
    """

    def __init__(self, pipeline: Tunable, times: Mapping[str, int]) -> None:
        self._is_fixed = pipeline.is_fixed
        self._order = list(itertools.chain.from_iterable(pipeline.levels))
        self._dependencies = pipeline.dependencies
        self._times = times
        self._own: dict[int, _Own] = {}
        """By the identity of the bound module, which the value keeps alive."""
        self._known: dict[str, ModuleCalls] = {}

    def module_calls(self, bound: Mapping[str, BoundModule]) -> list[ModuleCalls]:
        """The calls of every module of one config, in the order of levels.

        Args:
            bound: the modules with their configs and sample indices, by name.
        """
        keys: dict[str, str] = {}
        for name in self._order:
            own = self._own_of(bound[name])
            before = "\n".join(sorted({keys[other] for other in self._dependencies[name]}))
            keys[name] = key = _digest(f"{own.text}\n{before}")
            if key not in self._known:
                most = frozenset(_after(before, group) for group in own.most)
                sure = frozenset(_after(before, group) for group in own.sure)
                self._known[key] = ModuleCalls(name, key, most, sure)
        return [self._known[keys[name]] for name in self._order]

    def _own_of(self, bound: BoundModule) -> _Own:
        if id(bound) not in self._own:
            text = f"{bound.name} {bound.config_json} {bound.all_samples}"
            most = _of_module(bound, "", self._times.get(bound.name, 1))
            asked = dict(_asked(bound)) if self._is_fixed else {}
            groups = (
                [group._replace(asked=asked.get(group.asked, group.asked)) for group in each]
                for each in (most, _sure(bound))
            )
            self._own[id(bound)] = _Own(bound, text, *groups)
        return self._own[id(bound)]


def _after(before: str, group: CallGroup) -> CallGroup:
    """The group with a digest of its setting and of what comes before."""
    asked, label, sample, setting = group
    return CallGroup(asked, label, sample, _digest(f"{setting}\n{before}"))


def _asked(bound: BoundModule, around: str = "") -> Iterator[tuple[str, str]]:
    """By path, what decides a module's calls besides its settings; likewise for its consultants.

    Instructions are in every member's settings. Consultants see what members say, which depends on
    the instructions too.
    """
    module = bound.module
    parts: list[object] = [around, signature_identity(module.signature), module.strategy]
    parts += [bound.reads, bound.sees]
    many = len(bound.samples) > 1
    races = many and isinstance(aggregator(bound.aggregation), FirstToFinish)
    if _is_own(bound) or races:  # then a call may depend on all the others
        parts += [bound.path, bound.samples]
    asked = _digest(canonical_json(parts))
    yield bound.path, asked
    for consulted in bound.consultants.values():
        yield from _asked(consulted, f"{asked} {bound.instructions}")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _of_module(bound: BoundModule, before: str, times: int) -> Iterator[CallGroup]:
    for turn in range(times):
        for group in [*_members(bound, before), *_greedy(bound, before)]:
            yield group._replace(setting=f"{turn}\n{group.setting}") if turn else group
    for role, consulted in bound.consultants.items():
        kind = aggregator(bound.aggregation).roles[role]
        asked = times * kind.most_times(bound.config.width)
        yield from _of_module(consulted, f"{bound.config_json}{bound.samples}\n{before}", asked)


def _sure(bound: BoundModule) -> list[CallGroup]:
    """The members that are asked first; none where a user's own aggregator decides."""
    members = list(_members(bound, ""))
    if len(members) < 2:
        return members
    made = aggregator(bound.aggregation)
    if isinstance(made, Cascade):
        return members[: made.sizes(bound.members)[0]]
    if isinstance(made, Route):  # the input decides who is first
        return []
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
    """The members that may be asked again, at temperature 0, by a vote in doubt."""
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
    """Whether the aggregator is a user's own, of which little is known."""
    return len(bound.samples) > 1 and bound.aggregation.name not in AGGREGATORS


def _settings(bound: BoundModule, member: MemberConfig) -> str:
    """Everything but model and sample that decides what a member is asked on equal inputs."""
    form = bound.config.reply_format
    return canonical_json([member.own, bound.config.params, *([] if form == "chat" else [form])])
