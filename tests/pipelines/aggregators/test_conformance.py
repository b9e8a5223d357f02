"""Every aggregator passes the suite that ships with the library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from pipelines import Module
from pipelines.aggregators import AGGREGATORS, Aggregator, aggregator
from pipelines.aggregators.notation import parse_network
from pipelines.aggregators.role import Role
from pipelines.aggregators.testing import AggregatorConformance, Say, ScriptedMembers
from pipelines.gateway.call import LMCall
from search_spaces import AggregatorConfig, PipelineConfig
from tests.pipelines.scripted_session import (
    ScriptedSession,
    bind,
    one,
    received,
    requested,
    written,
)

CHECKS = "tests.pipelines.aggregators.functions"


class Named(AggregatorConformance):
    config: str | AggregatorConfig

    def make(self) -> Aggregator:
        return aggregator(self.config)


class TestMajorityVote(Named):
    config = "majority_vote"


class TestWeightedVote(Named):
    config = AggregatorConfig(name="majority_vote", params={"weights": (2, 1, 1)})


class TestFilterVote(Named):
    config = "filter_vote"


class TestConfidentVote(Named):
    config = "confident_vote"

    def members(self, *numbers: int | None) -> ScriptedMembers:
        members = super().members(*numbers)
        given = [number for number in numbers if number is not None]
        members.greedy_record = self.record(given[-1]) if given else None
        return members


class TestJudge(Named):
    config = "judge"


class TestWritingJudge(Named):
    config = AggregatorConfig(name="judge", params={"answer": "write"})

    def said(self) -> Mapping[str, Say]:
        return {"judge": lambda _: self.record(7)}


class TestVerifier(Named):
    config = "verifier"


class TestScorer(Named):
    config = "best_of"


class TestBestByFunction(Named):
    config = AggregatorConfig(name="best_of", params={"function": f"{CHECKS}:length"})


class TestFilterCluster(Named):
    config = "filter_cluster"


class TestFilterClusterByFunctions(Named):
    params: ClassVar = {
        "check_function": f"{CHECKS}:is_number",
        "key_function": f"{CHECKS}:length",
        "score_function": f"{CHECKS}:length",
    }
    config = AggregatorConfig(name="filter_cluster", params=params)


class TestFirstToFinish(Named):
    config = "first_to_finish"


class TestShortest(Named):
    config = "shortest"


class TestCascade(Named):
    config = "cascade"

    def test_members_that_all_agree_are_believed(self) -> None:
        members = self.members(0, 0, 0)
        verdict = self.make().aggregate(members)
        assert verdict is not None
        assert verdict.answer.record == self.record(0)
        assert sum(members.asked.values()) == 1  # nobody but the first was in doubt


class TestRoute(Named):
    config = "route"


class TestRouteThatAsksOn(Named):
    params: ClassVar = {"rates": (0.4, 0.6, 0.5), "until": 0.95, "options": 4}
    config = AggregatorConfig(name="route", params=params)


class TestShuffledVote(Named):
    config = "shuffled_vote"


class TestMean(Named):
    config = "mean"


class TestMedian(Named):
    config = "median"


def test_none_is_forgotten() -> None:
    made = [
        kind().make()
        for name, kind in globals().items()
        if name.startswith("Test") and kind is not AggregatorConformance
    ]
    assert {type(one) for one in made} == set(AGGREGATORS.values())


@pytest.mark.parametrize("inputs", ["question, candidate", "accepted, score, choice, score_"])
def test_whatever_a_role_writes_can_be_asked_for(inputs: str) -> None:
    module = Module("solve", f"{inputs} -> answer, unit", instructions="Measure {it}.")
    for name in AGGREGATORS:
        for role, kind in aggregator(name).roles.items():
            made = kind.module(f"solve_{role}", module, module.instructions)
            assert "Measure {it}." in (made.instructions or "")
            assert {*module.input_fields, kind.field(module)} == set(made.input_fields)
            written = dict.fromkeys(map(made.pipeline_field, made.output_fields))
            assert ", ".join(written) in (kind.writes.partition(":")[0], "answer, unit")


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("2x a -> best_of(b)", "second"),
        ("2x a -> judge(b)", "second"),
        ("2x a -> verifier(b)", "second"),
        ("2x a -> verifier(2x b -> judge(c))", "second"),
    ],
)
def test_inputs_may_have_the_names_that_roles_write(network: str, expected: str) -> None:
    def script(call: LMCall) -> str:
        (name,) = requested(call)
        if name == "answer":
            return written(answer=("first", "second")[call.sample])
        good = "second" in received(call).get("candidate", "")
        values = {"accepted_": good, "score_": float(good), "choice": 2, "choice_": 2}
        return written(**{name: values[name]})

    pipeline = one("accepted, score, choice -> answer")
    config = PipelineConfig(modules={"solve": parse_network(network, temperature=0.7)})
    step = bind(pipeline, ScriptedSession(script), config).run(dict.fromkeys(pipeline.inputs, "?"))
    assert step.outputs == {"answer": expected}


def test_of_several_fields_that_a_role_writes_each_finds_a_name() -> None:
    role = Role("candidate", "score: float, score_: int, why", "{task}")
    made = role.module("solve_scorer", Module("solve", "score, why -> answer"), None)
    assert made.output_fields == {"score__": float, "score_": int, "why_": str}
    assert made.rename == {"score__": "score", "why_": "why"}
