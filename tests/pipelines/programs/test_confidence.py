"""How sure a pipeline is of its answer: the share of members that agreed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import dspy
import pytest

from pipelines import Module, Pipeline, Program
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.call import LMCall
from pipelines.programs.bound_program import Prediction
from search_spaces import PipelineConfig
from tests.pipelines.scripted_session import ScriptedSession, bind, one, reply, requested, written


def saying(*answers: str) -> ScriptedSession:
    """The member of sample index i says the i-th answer; consulted modules choose the first."""

    def script(call: LMCall) -> str:
        fields = requested(call)
        values = {"choice": 1, "accepted": True, "score": 0.5}
        return written(**{name: values.get(name, answers[call.sample]) for name in fields})

    return ScriptedSession(script)


def asked(network: str, session: ScriptedSession) -> dspy.Prediction:
    pipeline = one()
    module = parse_network(network, temperature=0.7)
    return bind(pipeline, session, PipelineConfig(modules={"solve": module}))(question="q")


@pytest.mark.parametrize(
    ("network", "answers", "confidence"),
    [
        ("a", ("x",), 1.0),
        ("3x a -> majority_vote", ("x", "x", "y"), 2 / 3),
        ("3x a -> majority_vote", ("x", "X.", "x"), 1.0),
        ("4x a -> majority_vote(weights=[3, 1, 1, 1])", ("x", "y", "y", "z"), 0.5),
        ("3x a -> confident_vote", ("x", "y", "z"), 1 / 3),
        ("3x a -> judge(b)", ("x", "y", "y"), 1 / 3),
        ("3x a -> verifier(b)", ("x", "y", "y"), 1 / 3),
    ],
)
def test_it_is_the_share_of_the_members_that_gave_the_answer(
    network: str, answers: tuple[str, ...], confidence: float
) -> None:
    assert asked(network, saying(*answers)).confidence == pytest.approx(confidence)


def test_a_member_that_fails_did_not_agree() -> None:
    def script(call: LMCall) -> Any:
        return reply("") if call.sample == 1 else written(answer="x")

    assert asked("4x a -> majority_vote", ScriptedSession(script)).confidence == 0.75


def test_of_several_wide_modules_the_least_sure_counts() -> None:
    steps = Pipeline(
        "two", [Module("draft", "question -> task"), Module("solve", "task -> answer")]
    )

    def script(call: LMCall) -> str:
        [name] = requested(call)
        return written(**{name: "xxy"[call.sample] if name == "task" else "xxxxy"[call.sample]})

    modules = {
        "draft": parse_network("3x a -> majority_vote", temperature=0.7),
        "solve": parse_network("5x a -> majority_vote", temperature=0.7),
    }
    program: Program = bind(steps, ScriptedSession(script), PipelineConfig(modules=modules))
    trace = program.run({"question": "q"})
    assert [step.agreement for step in trace.steps] == pytest.approx([2 / 3, 4 / 5])
    assert trace.confidence == pytest.approx(2 / 3)
    assert program(question="q").confidence == pytest.approx(2 / 3)


def test_an_output_field_of_that_name_goes_before_it() -> None:
    pipeline = one("question -> answer, confidence: float")
    session = ScriptedSession(lambda call: written(answer="x", confidence=0.25))
    wide = parse_network("3x a -> majority_vote", temperature=0.7)
    program = bind(pipeline, session, PipelineConfig(modules={"solve": wide}))
    assert program(question="q").confidence == 0.25
    assert program.run({"question": "q"}).confidence == 1.0


def test_it_is_no_output_field() -> None:
    prediction = asked("3x a -> majority_vote", saying("x", "x", "y"))
    assert list(prediction.keys()) == ["answer"]
    assert "confidence" not in dict(prediction)


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda p: p.copy(), lambda p: pickle.loads(pickle.dumps(p))],
    ids=["copy", "deepcopy", "method", "pickle"],
)
def test_a_copy_is_as_sure(copied: Any) -> None:
    prediction = Prediction.of({"answer": "x"}, 0.6)
    made = copied(prediction)
    assert (made.answer, made.confidence) == ("x", 0.6)
    assert Prediction.of({"answer": "x"}, 0.2).confidence == 0.2
