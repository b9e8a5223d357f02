"""The base class of aggregators: one method that turns members' answers into one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar, dataclass_transform

import pydantic

from pipelines.aggregators.normalising import json_text, normalised
from pipelines.aggregators.role import Role
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from search_spaces import MemberConfig, ModuleConfig

T = TypeVar("T")

Record = Mapping[str, Any]
"""Output fields by name."""


@dataclass(frozen=True)
class Answer:
    """What one member answered."""

    member: int | None
    """Its place among the members, from 0; None for an answer that no member gave."""
    record: Record
    """Its output fields but the reasoning."""
    tokens: int = 0
    """How many tokens it wrote, the reasoning included."""
    beside: Collection[str] = ()
    """Fields that do not count when answers are compared."""

    @cached_property
    def ballot(self) -> tuple[str, ...]:
        """All fields jointly, equal for answers that mean the same."""
        compared = sorted(self.record.keys() - self.beside)
        return tuple(normalised(self.record[field]) for field in compared)

    @property
    def empty(self) -> bool:
        """Whether all fields are empty: the member abstains."""
        return not any(self.ballot)

    @property
    def shown(self) -> str:
        """Its fields as JSON."""
        return json_text(dict(self.record))


@dataclass(frozen=True)
class Verdict:
    """An aggregator's outcome."""

    answer: Answer
    """The winner, or one that is made of several."""
    agreement: float
    """Share in [0, 1] of the members asked that agree with it: the prediction's confidence."""


class Members(Protocol):
    """The members of one module on one example's inputs, and the aggregator's own modules."""

    @property
    def models(self) -> Sequence[str]:
        """Model label by member."""
        ...

    @property
    def configs(self) -> Sequence[MemberConfig]:
        """Model, temperature and prompt of each member: equal ones are asked the same."""
        ...

    @property
    def inputs(self) -> Record:
        """What the module received, by its own field names."""
        ...

    @property
    def roles(self) -> Collection[str]:
        """The aggregator's own modules that the config has a model for."""
        ...

    def ask(
        self,
        members: Sequence[int],
        *,
        greedy: bool = False,
        inputs: Sequence[Record] | None = None,
    ) -> list[Answer]:
        """The answers of some members, in this order, all asked at the same time.

        Those that fail are missing. A member that was asked before is not asked again.

        Args:
            members: places from 0.
            greedy: at temperature 0; of no more than `Aggregator.asks_again` members.
            inputs: others than the module received, one record for each of these members.
        """
        ...

    def first(self, count: int) -> list[Answer]:
        """The first `count` answers, in the order of finishing; the other calls are cut off.

        Those that fail are missing, and all are if too many calls fail.
        """
        ...

    def consult(self, role: str, shown: Sequence[str]) -> list[Record | None]:
        """A consulted module's replies about several texts, all asked at the same time.

        None where it failed.

        Args:
            role: one of `roles`, whose questions are bounded as `Aggregator.aggregate` says.
            shown: what it sees each time besides the module's inputs.
        """
        ...

    def provisional(self, verdict: Verdict) -> None:
        """Report the outcome so far to whoever streams the run, before more members are asked.

        Its agreement counts members that have not been asked as not agreeing.
        """
        ...

    def failed(self, kind: str, message: str) -> None:
        """Record a failure that the outcome does not show."""
        ...


class Aggregator(ABC):
    """Makes one answer of several members'. Subclasses are frozen; their fields are parameters."""

    @property
    def roles(self) -> Mapping[str, Role]:
        """The modules of its own that it may consult, by role."""
        return {}

    @property
    def needed(self) -> Collection[str]:
        """The roles that it requires."""
        return ()

    @property
    def asks_again(self) -> int:
        """How many members it may ask a second time, greedily; budgets keep a call for each."""
        return 0

    @property
    def functions(self) -> Collection[str]:
        """The user's functions that it calls, as `"package.module:name"`: their time counts."""
        return ()

    @property
    def choices(self) -> Mapping[str, Sequence[Any]]:
        """Values of its parameters that are worth trying, by parameter."""
        return {}

    def check(self, config: ModuleConfig, module: Module) -> None:
        """Whether it can work with these members and this signature.

        Raises:
            PipelineError: it can't; says the rule.
        """
        return

    @abstractmethod
    def aggregate(self, members: Members) -> Verdict | None:
        """One answer, or None if no member gave any.

        All output fields count jointly. It must not change its arguments, must depend on nothing
        else, and must ask no more members than it needs, since each call costs. Its calls are
        bounded, so that budgets can reserve them: each member once, `asks_again` of them again
        greedily, and each role once per member, or once if it sees all candidates.
        """
        ...


class Selection(Aggregator):
    """Asks all members, and selects one of their answers or makes one of its own."""

    @abstractmethod
    def select(self, members: Members, answers: Sequence[Answer]) -> Answer | None:
        """The winner, given at least one answer; None leaves it to the majority."""
        ...

    def aggregate(self, members: Members) -> Verdict | None:
        answers, width = members.ask(everyone(members)), len(members.models)
        winner = self.select(members, answers) if answers else None
        return elect(winner, answers, width) if winner else vote(answers, width)


@dataclass_transform(frozen_default=True)
def validated(kind: type[T]) -> type[T]:
    """Make a frozen dataclass of an aggregator whose parameters pydantic checks."""
    config = pydantic.ConfigDict(extra="forbid")
    return pydantic.dataclasses.dataclass(kind, frozen=True, config=config)  # type: ignore[return-value]


class Group(NamedTuple):
    """Answers that mean the same."""

    first: Answer
    """As the earliest member wrote it."""
    votes: float


def non_empty(answers: Sequence[Answer]) -> list[Answer]:
    """The answers that are not empty; all of them, if all are."""
    return [answer for answer in answers if not answer.empty] or list(answers)


def tally(answers: Sequence[Answer], weights: Sequence[float] = ()) -> list[Group]:
    """The answers in groups that mean the same: most votes first, then the one given first.

    Members whose fields are all empty abstain, unless all do. `weights` are votes by member,
    default 1.
    """
    groups: dict[tuple[str, ...], Group] = {}
    for answer in non_empty(answers):
        votes = weights[answer.member] if weights and answer.member is not None else 1.0
        first, before = groups.get(answer.ballot, (answer, 0.0))
        groups[answer.ballot] = Group(first, before + votes)
    return sorted(groups.values(), key=lambda group: -group.votes)  # stable: ties keep their order


def distinct(answers: Sequence[Answer]) -> list[Answer]:
    """The first of those that mean the same, in the order given; abstentions as in `tally`."""
    found: dict[tuple[str, ...], Answer] = {}
    for answer in non_empty(answers):
        found.setdefault(answer.ballot, answer)
    return list(found.values())


def vote(answers: Sequence[Answer], asked: int, weights: Sequence[float] = ()) -> Verdict | None:
    """The answer with most votes, and what share of those asked it has; None without answers."""
    if not answers:
        return None
    winner = tally(answers, weights)[0]
    everybody = sum(weights) if weights else asked
    return Verdict(winner.first, min(winner.votes / everybody, 1.0) if everybody else 0.0)


def elect(answer: Answer, answers: Sequence[Answer], asked: int) -> Verdict:
    """This answer, with the share of those asked that gave the same."""
    alike = sum(other.ballot == answer.ballot for other in answers)
    return Verdict(answer, alike / asked)


def everyone(members: Members) -> range:
    """The places of all members."""
    return range(len(members.models))


def check_one(what: str, first: object, second: object) -> None:
    """Raises PipelineError unless exactly one of two ways to judge is given."""
    if bool(first) == bool(second):
        raise PipelineError(f"needs {what}, but got {'both' if first else 'neither'}")
