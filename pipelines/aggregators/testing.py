"""What every aggregator must do, as tests that ship with the library, and made-up members.

    class TestMine(AggregatorConformance):
        def make(self) -> Aggregator:
            return Mine()

pytest collects the inherited tests. `ScriptedMembers` gives scripted answers, without a model.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.aggregators.aggregator import Aggregator, Answer, Members, Record, Verdict
from search_spaces import MemberConfig

Say = Callable[[str], Record | None]
"""A consulted module's reply to what it is shown; None is a failure."""


@dataclass
class ScriptedMembers(Members):
    """Members whose answers are known beforehand; counts what it is asked."""

    records: Sequence[Record | None]
    """By member; None is one that fails."""
    said: Mapping[str, Say] = field(default_factory=dict)
    """By role."""
    labels: Sequence[str] = ()
    received: Record = field(default_factory=dict)
    finishing: Sequence[int] = ()
    """Members in the order of finishing; their own order, if not given."""
    greedy_record: Record | None = None
    tokens: Sequence[int] = ()
    asked: Counter[int] = field(default_factory=Counter)
    """How often each member was asked."""
    consulted: list[tuple[str, str]] = field(default_factory=list)
    """Role and what it was shown, in order."""
    failures: list[str] = field(default_factory=list)
    reported: list[Verdict] = field(default_factory=list)
    """Provisional outcomes."""
    seen: dict[int, Record] = field(default_factory=dict)
    """The inputs that each member received."""

    @property
    def models(self) -> Sequence[str]:
        return self.labels or ["model"] * len(self.records)

    @property
    def configs(self) -> Sequence[MemberConfig]:
        return [MemberConfig(label) for label in self.models]

    @property
    def inputs(self) -> Record:
        return self.received

    @property
    def roles(self) -> Collection[str]:
        return self.said.keys()

    def ask(
        self,
        members: Sequence[int],
        *,
        greedy: bool = False,
        inputs: Sequence[Record] | None = None,
    ) -> list[Answer]:
        self.asked.update(members)
        self.seen.update(zip(members, inputs or [self.inputs] * len(members), strict=True))
        if greedy:
            record = self.greedy_record
            return [] if record is None else [Answer(member, record) for member in members]
        return [a for a in map(self._answer, members) if a is not None]

    def first(self, count: int) -> list[Answer]:
        order = self.finishing or range(len(self.records))
        self.asked.update(order)
        return [a for a in map(self._answer, order) if a is not None][:count]

    def consult(self, role: str, shown: Sequence[str]) -> list[Record | None]:
        self.consulted += [(role, text) for text in shown]
        return [self.said[role](text) for text in shown]

    def provisional(self, verdict: Verdict) -> None:
        self.reported.append(verdict)

    def failed(self, kind: str, message: str) -> None:
        self.failures.append(f"{kind}: {message}")

    def _answer(self, member: int) -> Answer | None:
        record = self.records[member]
        tokens = self.tokens[member] if self.tokens else 0
        return None if record is None else Answer(member, record, tokens)


class AggregatorConformance:
    """The tests of any aggregator. Override `make`, and what else does not fit."""

    def make(self) -> Aggregator:
        """The aggregator, with parameters that suit three members."""
        raise NotImplementedError

    def said(self) -> Mapping[str, Say]:
        """The replies of its roles; by default each accepts, scores 1 and chooses 1."""
        verdict = {"accepted": True, "score": 1.0, "choice": 1, **self.record(0)}
        return dict.fromkeys(self.make().roles, lambda _: verdict)

    def record(self, number: int) -> Record:
        """Some answer; equal numbers give answers that mean the same."""
        return {"answer": str(10 + number), "unit": "m"}

    def members(self, *numbers: int | None) -> ScriptedMembers:
        """Three or so members that give these answers; None fails. Each is of another model."""
        records = [None if number is None else self.record(number) for number in numbers]
        labels = [f"model-{place}" for place in range(len(numbers))]
        return ScriptedMembers(records, self.said(), labels, {"question": "How long is it?"})

    def test_the_winner_is_the_record_of_a_member_or_made_of_the_same_fields(self) -> None:
        verdict = self._decided(self.members(0, 1, 1))
        assert set(verdict.answer.record) == set(self.record(0))
        if verdict.answer.member is not None:
            assert 0 <= verdict.answer.member < 3

    def test_members_that_all_agree_are_believed(self) -> None:
        verdict = self._decided(self.members(0, 0, 0))
        assert verdict.answer.ballot == Answer(0, self.record(0)).ballot
        assert verdict.agreement == 1.0

    def test_agreement_is_a_share(self) -> None:
        for numbers in ((0, 1, 2), (0, 1, 1), (0, None, 1), (0, 0, None)):
            assert 0.0 <= self._decided(self.members(*numbers)).agreement <= 1.0

    def test_provisional_outcomes_have_the_fields_of_the_final_one(self) -> None:
        for numbers in ((0, 1, 2), (0, None, 1), (None, 0, 1)):
            members = self.members(*numbers)
            final = self._decided(members)
            for verdict in members.reported:
                assert verdict.answer.record.keys() == final.answer.record.keys()
                assert 0.0 <= verdict.agreement <= 1.0

    def test_the_same_answers_give_the_same_outcome(self) -> None:
        assert self._decided(self.members(2, 0, 1)) == self._decided(self.members(2, 0, 1))

    def test_nothing_is_changed(self) -> None:
        members = self.members(0, 1, 1)
        before = copy.deepcopy((members.records, members.received))
        self.make().aggregate(members)
        assert (members.records, members.received) == before

    def test_the_others_decide_when_a_member_fails(self) -> None:
        assert self._decided(self.members(None, 1, 1)).answer.record == self.record(1)
        assert self._decided(self.members(1, None, 1)).answer.record == self.record(1)

    def test_there_is_no_outcome_when_all_fail(self) -> None:
        assert self.make().aggregate(self.members(None, None, None)) is None

    def test_it_asks_no_more_than_budgets_keep_for_it(self) -> None:
        members, made = self.members(0, 1, 2), self.make()
        made.aggregate(members)
        assert members.asked.total() <= 3 + made.asks_again
        times = Counter(role for role, _ in members.consulted)
        assert all(times[role] <= made.roles[role].most_times(3) for role in times)

    def test_no_member_is_asked_twice_for_the_same(self) -> None:
        members = self.members(0, 1, 1)
        self.make().aggregate(members)
        assert max(members.asked.values()) <= 1 + (members.greedy_record is not None)

    def test_it_decides_when_a_consulted_module_fails(self) -> None:
        members = self.members(0, 1, 1)
        members.said = dict.fromkeys(self.make().roles, lambda _: None)
        verdict = self._decided(members)
        assert set(verdict.answer.record) == set(self.record(0))

    def test_it_consults_only_its_roles(self) -> None:
        members = self.members(0, 1, 2)
        self.make().aggregate(members)
        assert {role for role, _ in members.consulted} <= set(self.make().roles)

    def _decided(self, members: Members) -> Verdict:
        verdict = self.make().aggregate(members)
        assert isinstance(verdict, Verdict), f"expected a Verdict, but got {verdict!r}"
        return verdict


def says(**fields: Any) -> Say:
    """A consulted module that always replies the same."""
    return lambda _: fields
