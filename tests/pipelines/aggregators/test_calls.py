"""How many calls a config makes at most, and that no aggregator makes more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pipelines import PipelineError
from pipelines.aggregators import Aggregator, Members, Verdict
from pipelines.aggregators.aggregator import everyone, vote
from pipelines.aggregators.calls import calls_per_run, most_calls
from pipelines.aggregators.notation import parse_network
from pipelines.aggregators.role import YES_OR_NO, Role
from pipelines.aggregators.selection.judge import PICK
from pipelines.gateway.call import LMCall
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.scripted_session import ScriptedSession, bind, one, requested, written

OWN = "tests.pipelines.aggregators.test_calls:Asks"


@dataclass(frozen=True)
class Asks(Aggregator):
    """As a user's own might, more or less than it says."""

    again: int = 3
    members: Sequence[Any] = (0, 1, 2)
    greedy: int = 3
    """How many members it asks greedily."""
    role: str = "verifier"
    times: int = 3
    races: bool = False

    @property
    def roles(self) -> Mapping[str, Role]:
        return {"verifier": YES_OR_NO, "judge": PICK}

    @property
    def asks_again(self) -> int:
        return self.again

    def aggregate(self, members: Members) -> Verdict | None:
        answers = members.ask(self.members)
        if self.races:
            members.first(1)
        for member in everyone(members)[: self.greedy]:
            members.ask([member], greedy=True)
        for _ in range(self.times):
            members.consult(self.role, ["a candidate"])
        return vote(answers, len(answers))


@pytest.mark.parametrize(
    ("network", "most"),
    [
        ("a", 1),
        ("4x a -> majority_vote", 4),
        ("4x a -> confident_vote", 4 + 1),  # the greedy answer
        ("4x a -> judge(j)", 4 + 1),
        ("4x a -> filter_vote(j)", 4 + 4),
        ("4x a -> judge(2x j -> judge(k))", 4 + (2 + 1)),
        ("4x a -> verifier(2x j -> judge(k))", 4 + 4 * (2 + 1)),
        (f"4x a -> {OWN}(again=0)", 4),
        (f"4x a -> {OWN}(verifier=j, judge=j, again=2)", 4 + 2 + 4 + 1),
    ],
)
def test_members_count_and_whom_the_aggregator_asks(network: str, most: int) -> None:
    module = parse_network(network)
    assert most_calls(module) == most
    assert calls_per_run(PipelineConfig(modules={"x": module, "y": ModuleConfig()})) == most


def asked(arguments: str) -> tuple[ScriptedSession, PipelineConfig]:
    def script(call: LMCall) -> str:
        values = {"accepted": True, "choice": 1}
        return written(**{name: values.get(name, call.sample) for name in requested(call)})

    session = ScriptedSession(script)
    network = f"a + b + c -> {OWN}({arguments})"
    config = PipelineConfig(modules={"solve": parse_network(network, temperature=0.7)})
    bind(one(), session, config).run({"question": "q"})
    return session, config


def test_an_own_aggregator_may_make_all_the_calls_that_it_says() -> None:
    session, config = asked("verifier=a")
    assert len(session.calls) == calls_per_run(config) == 3 + 3 + 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("verifier=a, again=2", "asks 3 members greedily, but its asks_again is 2"),
        ("verifier=a, times=4", "may ask its verifier 3 times, but asks 4 times"),
        ("judge=a, role=judge, times=2", "may ask its judge 1 times, but asks 2 times"),
        ("judge=a", "consults 'verifier', which has no model; nearest: 'judge'"),
        ("verifier=a, members=[0, 3]", "must ask members from 0 to 2, but asks 3"),
        ("verifier=a, members=[0, 1, 0]", r"must ask each member once, but asks \[0, 1, 0\]"),
        ("verifier=a, members=[-1]", "must ask members from 0 to 2, but asks -1"),
        ("verifier=a, races=true", "must not have members race who were asked before"),
    ],
)
def test_and_no_other_call(arguments: str, message: str) -> None:
    with pytest.raises(PipelineError, match=f"aggregator '{OWN}' of module 'solve' {message}"):
        asked(arguments)
