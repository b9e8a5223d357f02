"""What a bound pipeline asks, and what its trace tells."""

from __future__ import annotations

import dspy
import pytest

from pipelines import Module, Pipeline, PipelineError, patterns
from pipelines.aggregators.notation import parse_network
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.scripted_session import (
    INPUTS,
    LOCATE_SOLVE,
    ScriptedSession,
    bind,
    one,
    received,
    written,
)


def test_a_run_passes_each_module_what_the_earlier_ones_wrote() -> None:
    session = ScriptedSession()
    trace = bind(LOCATE_SOLVE, session).run(INPUTS)
    assert trace.outputs == {"answer": "answer by a#0"}
    assert received(session.calls[0]) == INPUTS
    assert received(session.calls[1]) == {"task": "task by a#0"}


def test_the_trace_tells_inputs_outputs_calls_cost_and_seconds() -> None:
    config = LOCATE_SOLVE.default_config("a").with_models({"solve": "b"})
    trace = bind(LOCATE_SOLVE, ScriptedSession(), config).run(INPUTS)
    locate, solve = trace.steps
    assert (locate.module, solve.module) == ("locate", "solve")
    assert locate.inputs == INPUTS
    assert locate.outputs == solve.inputs == {"task": "task by a#0"}
    assert [call.model for call in trace.calls] == ["a", "b"]
    assert trace.usd == pytest.approx(0.002)
    assert (trace.input_tokens, trace.output_tokens, solve.tokens) == (200, 20, 110)
    assert trace.latency_s == 2.0
    assert solve.after == ("locate",)
    assert trace.step("solve") is solve


def test_calling_the_program_gives_a_prediction() -> None:
    prediction = bind(LOCATE_SOLVE, ScriptedSession())(**INPUTS)
    assert isinstance(prediction, dspy.Prediction)
    assert prediction.toDict() == {"answer": "answer by a#0"}


def test_columns_that_are_no_inputs_never_reach_a_model() -> None:
    session = ScriptedSession()
    bind(LOCATE_SOLVE, session).run({**INPUTS, "answer": "GOLD", "gold": "GOLD"})
    assert not any("GOLD" in str(call.messages) for call in session.calls)


def test_a_missing_input_is_named_with_the_nearest_given() -> None:
    program = bind(LOCATE_SOLVE, ScriptedSession())
    with pytest.raises(PipelineError, match=r"the input 'question' is missing; nearest: 'qestion'"):
        program.run({"table": "t", "qestion": "q"})


def test_typed_outputs_arrive_with_their_types() -> None:
    pipeline = one("question, k: int -> answers: list[int], sure: bool")
    session = ScriptedSession(lambda call: written(answers=[1, 2], sure="True"))
    trace = bind(pipeline, session).run({"question": "q", "k": 2})
    assert trace.outputs == {"answers": [1, 2], "sure": True}


def test_the_chain_of_thought_is_in_the_trace_and_not_in_the_next_prompt() -> None:
    pipeline = patterns.locate_solve(strategy="chain_of_thought")
    session = ScriptedSession()
    trace = bind(pipeline, session).run(INPUTS)
    assert trace.steps[0].outputs == {"reasoning": "reasoning by a#0", "task": "task by a#0"}
    assert received(session.calls[1]) == {"task": "task by a#0"}
    assert trace.outputs == {"answer": "answer by a#0"}


def test_a_chain_of_thought_does_not_overwrite_an_input_of_its_name() -> None:
    modules = [
        Module("solve", "question -> answer", strategy="chain_of_thought"),
        Module("why", "answer, told -> verdict", rename={"told": "thoughts"}),
        Module("think", "question -> thoughts"),
    ]
    session = ScriptedSession()
    bind(Pipeline("x", modules), session).run({"question": "q"})
    assert received(session.calls[-1])["told"] == "thoughts by a#0"


def test_temperature_instructions_and_demos_of_the_config_reach_the_model() -> None:
    pipeline = one(instructions="Old words.", temperature=0.1)
    knobs = ModuleConfig(
        models=("b",),
        temperature=0.9,
        instructions="New words.",
        demos=({"question": "one plus one", "answer": "two"},),
    )
    config = PipelineConfig(modules={"solve": knobs})
    session = ScriptedSession()
    bind(pipeline, session, config).run({"question": "q"})
    (call,) = session.calls
    assert (call.model.label, call.temperature) == ("b", 0.9)
    assert "New words." in call.messages[0]["content"]
    assert "Old words." not in str(call.messages)
    assert "one plus one" in call.messages[1]["content"]
    assert "two" in call.messages[2]["content"]


def test_instructions_of_none_leave_those_of_the_module() -> None:
    config = PipelineConfig(modules={"solve": ModuleConfig(models=("a",))})
    session = ScriptedSession()
    bind(one(instructions="Old words."), session, config).run({"question": "q"})
    assert "Old words." in session.calls[0].messages[0]["content"]


def test_run_module_runs_just_that_module_on_a_steps_inputs() -> None:
    session = ScriptedSession()
    program = bind(LOCATE_SOLVE, session)
    earlier = program.run(INPUTS).step("solve")
    session.calls.clear()
    assert program.run_module("solve", earlier.inputs) == earlier
    assert len(session.calls) == 1
    with pytest.raises(PipelineError, match="nearest: 'solve'"):
        program.run_module("slove", {})


@pytest.mark.parametrize("strategy", ["predict", "chain_of_thought"])
def test_whom_an_aggregator_consults_can_be_asked_of_one_answer(strategy: str) -> None:
    session = ScriptedSession(lambda call: written(reasoning="r", accepted="Lyon" in str(call)))
    network = PipelineConfig(modules={"solve": parse_network("2x a -> verifier(b)")})
    program = bind(one(strategy=strategy), session, network)
    for answer, accepted in (("Lyon", True), ("Paris", False)):
        said = program.consult("solve", "verifier", {"question": "q"}, {"answer": answer})
        assert said == {"accepted": accepted}
    assert [call.model.label for call in session.calls] == ["b", "b"]


def test_the_predictors_are_attributes_named_as_the_modules() -> None:
    pipeline = Pipeline(
        "x",
        [Module("locate", "q -> task"), Module("solve", "task -> a", strategy="chain_of_thought")],
    )
    names = [name for name, _ in bind(pipeline, ScriptedSession()).named_predictors()]
    assert names == ["locate", "solve.predict"]
