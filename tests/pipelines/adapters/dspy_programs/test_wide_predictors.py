"""A predictor may be asked several times, by one model or several."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from pipelines import PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.programs.memo import Memo
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig, PipelineConfig
from tests.pipelines.adapters.dspy_programs.importable import Extract, Person
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve, bound, prompt
from tests.pipelines.scripted_session import ScriptedSession, requested, signed, written

INPUTS = {"table": "t", "question": "q"}


def config(aggregator: Any, *models: str) -> PipelineConfig:
    given = from_dspy(LocateSolve()).default_config("a")
    return given.with_knobs(
        "solve", models=models, width=len(models), aggregator=aggregator, temperature=0.7
    )


def voting(call: LMCall) -> str:
    said = {"a": "four", "b": "five", "c": "four"}[call.model.label]
    return written(answer=said) if "answer" in requested(call) else signed(call)


def test_a_majority_decides() -> None:
    session = ScriptedSession(voting)
    trace = bound(LocateSolve(), session, config("majority_vote", "a", "b", "c")).run(INPUTS)
    solve = trace.step("solve")
    assert trace.outputs == {"answer": "four"}
    assert solve.agreement == pytest.approx(2 / 3)
    assert [call.model for call in solve.calls] == ["a", "b", "c"]
    assert [step.module for step in trace.steps] == ["locate", "solve"]
    assert solve.latency_s == pytest.approx(1.0)


def test_members_of_one_model_are_different_samples() -> None:
    session = ScriptedSession()
    bound(LocateSolve(), session, config("majority_vote", "a", "a", "a")).run(INPUTS)
    assert sorted(call.sample for call in session.calls[1:]) == [0, 1, 2]


def test_each_members_own_prompt_and_temperature_reach_its_calls() -> None:
    given = from_dspy(LocateSolve()).default_config("a")
    shown = ({"task": "6 * 7", "answer": "42"},)
    own = given.with_knobs(
        "solve",
        members=("a", MemberConfig("a", temperature=0.2, instructions="Be brief."),
                 MemberConfig("b", demos=shown)),
        aggregator=AggregatorConfig(name="confident_vote", params={"threshold": 1.0}),
        temperature=0.7, instructions="Solve it.",
    )  # fmt: skip
    session, memo = ScriptedSession(), Memo()
    program = bound(LocateSolve(), session, own, memo)
    for _ in range(2):
        assert program.run(INPUTS).failure is None
    calls = [
        (call.model.label, call.sample, call.temperature, "Be brief." in prompt(call),
         "Solve it." in prompt(call), "6 * 7" in prompt(call))
        for call in session.calls[1:]
    ]  # fmt: skip
    assert sorted(calls[:3]) == [
        ("a", 0, 0.2, True, False, False),
        ("a", 0, 0.7, False, True, False),
        ("b", 0, 0.7, False, True, True),
    ]
    assert calls[3:] == [("a", 0, 0.0, False, True, False)], "the vote in doubt, and then the memo"


def test_a_member_with_demos_makes_the_call_of_a_module_with_those_demos() -> None:
    shown = ({"task": "6 * 7", "answer": "42"},)
    given = from_dspy(LocateSolve()).default_config("a")
    keys = []
    for members in (("a", MemberConfig("b", demos=shown)), (MemberConfig("b", demos=shown),)):
        session = ScriptedSession()
        aggregator = "majority_vote" if len(members) > 1 else None
        config = given.with_knobs("solve", members=members, aggregator=aggregator)
        bound(LocateSolve(), session, config).run(INPUTS)
        keys += [call.key for call in session.calls if "6 * 7" in prompt(call)]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_judge_decides_and_its_call_belongs_to_the_module() -> None:
    def script(call: LMCall) -> str:
        return written(best="2") if call.model.label == "c" else signed(call)

    judged = AggregatorConfig(name="judge", modules={"judge": ModuleConfig(models=("c",))})
    session = ScriptedSession(script)
    trace = bound(LocateSolve(), session, config(judged, "a", "b")).run(INPUTS)
    assert len(trace.step("solve").calls) == len(session.calls) - 1
    assert "c" in [call.model for call in trace.step("solve").calls]
    assert [step.module for step in trace.steps] == ["locate", "solve"]


def test_the_others_decide_when_one_fails() -> None:
    def script(call: LMCall) -> str:
        if call.model.label == "b":
            raise CallFailed("refusal", "no")
        return signed(call)

    trace = bound(
        LocateSolve(), ScriptedSession(script), config("majority_vote", "a", "b", "c")
    ).run(INPUTS)
    assert trace.failure is None
    assert [each.kind for each in trace.step("solve").members_failed] == ["refusal"]


def test_if_all_fail_it_is_the_modules_failure() -> None:
    def script(call: LMCall) -> str:
        if "answer" in requested(call):
            raise CallFailed("timeout", "no")
        return signed(call)

    wide = config("majority_vote", "a", "b")
    failure = bound(LocateSolve(), ScriptedSession(script), wide).run(INPUTS).failure
    assert failure is not None
    assert (failure.kind, failure.module, failure.infrastructure) == ("timeout", "solve", True)


def test_one_answer_can_be_shown_to_whom_an_aggregator_consults() -> None:
    def script(call: LMCall) -> str:
        return written(**dict.fromkeys(requested(call), "yes"))

    verified = AggregatorConfig(name="verifier", modules={"verifier": ModuleConfig(models=("c",))})
    session = ScriptedSession(script)
    program = bound(LocateSolve(), session, config(verified, "a", "b"))
    said = program.consult("solve", "verifier", {"task": "add"}, {"answer": "four"})
    assert said is not None
    assert list(said.values()) == [True]
    assert "add" in prompt(session.calls[0])
    assert "four" in prompt(session.calls[0])
    with pytest.raises(PipelineError, match="'locate' has one member"):
        program.consult("locate", "verifier", INPUTS, {"task": "t"})


def test_typed_outputs_are_objects_in_steps_and_votes() -> None:
    class Extracting(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.extract = dspy.ChainOfThought(Extract)
            self.extract.predict.demos = [
                dspy.Example(text="t", person=Person(name="Bo", age=1), mood="bad", reasoning="r")
            ]

        def forward(self, text: str) -> Any:
            return self.extract(text=text)

    def script(call: LMCall) -> str:
        age = 3 if call.model.label == "b" else 4
        return written(reasoning="r", person=f'{{"name": "Al", "age": {age}}}', mood="good")

    pipeline, session = from_dspy(Extracting()), ScriptedSession(script)
    wide = pipeline.default_config("a").with_knobs(
        "extract.predict", models=("a", "b", "c"), width=3, aggregator="majority_vote"
    )
    trace = bound(pipeline, session, wide, memo=Memo()).run({"text": "x"})
    assert trace.outputs is not None
    assert trace.outputs["person"] == Person(name="Al", age=4)
    assert trace.outputs["mood"] == "good"
    assert '"name": "Bo"' in str(session.calls[0].messages).replace("\\", "")
