"""A run leaves a trace: what every predictor received, returned and cost, and what failed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import dspy
import pytest

from pipelines import ModuleFailed, PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve, Single, bound
from tests.pipelines.scripted_session import ScriptedSession, requested, signed, written

INPUTS = {"table": "t", "question": "q"}
ONE = {"question": "q"}


def failing(kind: str, of: str) -> ScriptedSession:
    """Answers, but for the calls that ask for a field."""

    def script(call: LMCall) -> str:
        if of in requested(call):
            raise CallFailed(kind, "the server answers 500")
        return signed(call)

    return ScriptedSession(script)


def test_a_trace_has_what_each_module_received_returned_and_cost() -> None:
    trace = bound(LocateSolve()).run(INPUTS)
    locate, solve = trace.steps
    assert (locate.module, locate.inputs) == ("locate", INPUTS)
    assert locate.outputs == {"task": "task by a#0"}
    assert (solve.inputs, solve.after) == ({"task": "task by a#0"}, ("locate",))
    assert [len(step.calls) for step in trace.steps] == [1, 1]
    assert trace.outputs == {"answer": "answer by a#0"}
    assert trace.usd == pytest.approx(0.002)
    assert trace.latency_s == pytest.approx(2.0)


def test_a_predictor_that_is_asked_twice_leaves_two_steps() -> None:
    class Twice(Single):
        def forward(self, question: str) -> Any:
            return self.answer(question=self.answer(question=question).answer)

    trace = bound(Twice()).run(ONE)
    assert [step.module for step in trace.steps] == ["answer", "answer"]
    assert trace.latency_s == pytest.approx(2.0)


def test_what_does_not_parse_is_the_failure_of_its_module() -> None:
    session = ScriptedSession(lambda call: "no" if "answer" in requested(call) else signed(call))
    trace = bound(LocateSolve(), session).run(INPUTS)
    assert trace.outputs is None
    assert trace.failure is not None
    assert (trace.failure.kind, trace.failure.module) == ("unparsable", "solve")
    assert not trace.failure.infrastructure
    assert [len(step.calls) for step in trace.steps] == [1, 2], "asked again, as JSON"


def test_an_outage_is_one() -> None:
    trace = bound(LocateSolve(), failing("server_error", "answer")).run(INPUTS)
    assert trace.failure is not None
    assert (trace.failure.kind, trace.failure.module) == ("server_error", "solve")
    assert trace.failure.infrastructure


def test_a_program_that_deals_with_a_failure_goes_on_and_the_failure_is_told() -> None:
    class Careful(LocateSolve):
        def forward(self, table: str, question: str) -> Any:
            try:
                return super().forward(table, question)
            except Exception:
                return dspy.Prediction(answer="none")

    trace = bound(Careful(), failing("server_error", "answer")).run(INPUTS)
    assert (trace.outputs, trace.failure) == ({"answer": "none"}, None)
    assert [(each.kind, each.module) for each in trace.made_up_for] == [("server_error", "solve")]


def test_a_program_that_stumbles_over_what_an_outage_left_out_met_an_outage() -> None:
    class Careless(Single):
        def forward(self, question: str) -> Any:
            said: Any = None
            with contextlib.suppress(Exception):
                said = self.answer(question=question)
            return dspy.Prediction(answer=said.answer)

    outage = bound(Careless(), failing("timeout", "answer")).run(ONE).failure
    refusal = bound(Careless(), failing("refusal", "answer")).run(ONE).failure
    assert outage is not None
    assert refusal is not None
    assert (outage.kind, outage.infrastructure) == ("timeout", True)
    assert (refusal.kind, refusal.infrastructure) == ("program_error", False)


def test_a_failure_that_is_raised_as_another_is_still_the_modules() -> None:
    class Translating(Single):
        def forward(self, question: str) -> Any:
            try:
                return self.answer(question=question)
            except Exception as error:
                raise KeyError("mine") from error

    failure = bound(Translating(), failing("refusal", "answer")).run(ONE).failure
    assert failure is not None
    assert (failure.kind, failure.module) == ("refusal", "answer")


def test_what_the_programs_own_code_raises_is_its_failure() -> None:
    class Broken(Single):
        def forward(self, question: str) -> Any:
            self.answer(question=question)
            raise LookupError("no such page")

    trace = bound(Broken()).run(ONE)
    assert trace.failure is not None
    assert (trace.failure.kind, trace.failure.module) == ("program_error", "forward")
    assert trace.failure.message == "LookupError: no such page"
    assert len(trace.calls) == 1


@pytest.mark.parametrize("said", [None, "text", ("a", "b")])
def test_what_is_no_prediction_is_a_failure_that_says_so(said: Any) -> None:
    class Odd(Single):
        def forward(self, question: str) -> Any:
            return said

    failure = bound(Odd()).run(ONE).failure
    assert failure is not None
    assert failure.message.startswith("Odd.forward must return a dspy.Prediction")


def test_a_mapping_will_do() -> None:
    class Plain(Single):
        def forward(self, question: str) -> Any:
            return {"answer": self.answer(question=question).answer, "sources": [1, 2]}

    assert bound(Plain()).run(ONE).outputs == {"answer": "answer by a#0", "sources": [1, 2]}


def test_called_for_a_prediction_it_raises_what_failed() -> None:
    assert bound(LocateSolve()).prediction_of(INPUTS).answer == "answer by a#0"
    with pytest.raises(ModuleFailed, match=r"module 'solve' failed \(refusal\)"):
        bound(LocateSolve(), failing("refusal", "answer")).prediction_of(INPUTS)


class Late(Single):
    """Makes a predictor while it runs."""

    def forward(self, question: str) -> Any:
        hint = dspy.ChainOfThought("question -> hint")(question=question).hint
        return self.answer(question=hint)


def test_predictors_made_in_forward_are_named_and_metered() -> None:
    session = ScriptedSession()
    trace = bound(Late(), session).run(ONE)
    made, answer = trace.steps
    assert made.module == "made in forward (question -> reasoning, hint)"
    assert made.outputs == {"reasoning": "reasoning by a#0", "hint": "hint by a#0"}
    assert answer.inputs == {"question": "hint by a#0"}
    assert len(trace.calls) == len(session.calls) == 2


def test_they_ask_what_is_configured_and_their_failures_are_theirs() -> None:
    with dspy.context(lm=dspy.LM("sim/c", temperature=0.3)):
        pipeline = from_dspy(Late())
    session = ScriptedSession()
    bound(pipeline, session, pipeline.default_config().with_models({"answer": "b"})).run(ONE)
    assert [(call.model.name, call.temperature) for call in session.calls] == [
        ("sim/c", 0.3),
        ("sim/b", 0.3),
    ]
    failure = bound(Late(), failing("refusal", "hint")).run(ONE).failure
    assert failure is not None
    assert failure.module.startswith("made in forward")


def test_a_model_that_is_asked_without_a_predictor_is_metered_too() -> None:
    class Direct(Single):
        def forward(self, question: str) -> Any:
            (said,) = dspy.settings.lm(f"say it: {question}")
            return self.answer(question=said)

    trace = bound(Direct(), ScriptedSession(lambda call: written(answer="x"))).run(ONE)
    assert [(step.module, len(step.calls)) for step in trace.steps] == [
        ("answer", 1),
        ("forward", 1),
    ]


class PastIt(Single):
    """Asks a model that no budget knows of, and hides it."""

    def forward(self, question: str) -> Any:
        past = dspy.LM("openai/gpt-4o-mini", api_key="sk-planted-1")
        with contextlib.suppress(BaseException), dspy.context(lm=past):
            dspy.Predict("question -> hint")(question=question)
        return self.answer(question=question)


def test_an_lm_of_a_context_is_refused_where_no_config_could_say_another() -> None:
    class Choosing(Single):
        def forward(self, question: str) -> Any:
            with dspy.context(lm=dspy.LM("openai/gpt-4o-mini")):
                return self.answer(question=question)

    session, program = ScriptedSession(), Choosing()
    with pytest.raises(PipelineError, match=r"asks its predictor 'answer' within dspy.context\(lm"):
        bound(program, session).run(ONE)
    assert session.calls == []
    program.answer.lm = dspy.LM("openai/gpt-4o")  # goes before any context, in DSPy too
    config = PipelineConfig(modules={"answer": ModuleConfig(models=("a",))})
    assert bound(program, session, config).run(ONE).outputs == {"answer": "answer by a#0"}


def test_past_the_gateway_nothing_is_asked() -> None:
    session = ScriptedSession()
    with pytest.raises(PipelineError) as caught:
        bound(PastIt(), session).run(ONE)
    assert "program 'PastIt': it asks 'openai/gpt-4o-mini' past the gateway" in str(caught.value)
    assert "planted" not in str(caught.value)
    assert session.calls == []


class Swallowing(LocateSolve):
    def forward(self, table: str, question: str) -> Any:
        try:
            return super().forward(table, question)
        except BaseException:
            return dspy.Prediction(answer="made up")


def test_an_exhausted_budget_passes_through_code_that_catches_everything() -> None:
    def script(call: LMCall) -> str:
        raise BudgetExhausted("no more")

    with pytest.raises(BudgetExhausted, match="no more"):
        bound(Swallowing(), ScriptedSession(script)).run(INPUTS)


def test_what_a_module_receives_is_found_by_running_what_comes_before_it() -> None:
    session = ScriptedSession()
    assert bound(Swallowing(), session).inputs_of("solve", INPUTS) == {"task": "task by a#0"}
    assert len(session.calls) == 1
    assert bound(LocateSolve(), failing("refusal", "task")).inputs_of("solve", INPUTS) is None


def test_a_module_that_a_run_goes_past_receives_nothing() -> None:
    class Choosing(LocateSolve):
        def forward(self, table: str, question: str) -> Any:
            return dspy.Prediction(answer=self.locate(table=table, question=question).task)

    assert bound(Choosing()).inputs_of("solve", INPUTS) is None


def test_one_module_can_be_run_on_its_own() -> None:
    step = bound(LocateSolve()).run_module("solve", {"task": "1 + 1"})
    assert (step.inputs, step.outputs) == ({"task": "1 + 1"}, {"answer": "answer by a#0"})
    failed = bound(LocateSolve(), failing("refusal", "answer")).run_module("solve", {"task": "t"})
    assert failed.failure is not None
    assert failed.failure.kind == "refusal"


class Awaiting(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = dspy.Predict("question -> answer")
        self.two = dspy.ChainOfThought("question -> answer")

    async def aforward(self, question: str) -> Any:
        said = await asyncio.gather(
            self.one.acall(question=question), self.two.acall(question=question)
        )
        return dspy.Prediction(answer=[each.answer for each in said])


def test_a_program_that_is_only_asynchronous_runs() -> None:
    trace = bound(Awaiting()).run(ONE)
    assert trace.outputs == {"answer": ["answer by a#0", "answer by a#0"]}
    assert {step.module for step in trace.steps} == {"one", "two.predict"}
    assert [len(step.calls) for step in trace.steps] == [1, 1]


def test_what_a_module_of_it_receives_is_found_too() -> None:
    assert bound(Awaiting()).inputs_of("two.predict", ONE) == {"question": "q"}


def test_it_runs_within_a_running_event_loop_too() -> None:
    async def main() -> Any:
        return bound(Awaiting()).run(ONE).outputs

    assert asyncio.run(main()) == {"answer": ["answer by a#0", "answer by a#0"]}


def test_an_exhausted_budget_passes_through_a_gather_that_collects_what_is_raised() -> None:
    class Collecting(Awaiting):
        async def aforward(self, question: str) -> Any:
            said = await asyncio.gather(self.one.acall(question=question), return_exceptions=True)
            return dspy.Prediction(answer=str(said))

    def script(call: LMCall) -> str:
        raise BudgetExhausted("no more")

    with pytest.raises(BudgetExhausted):
        bound(Collecting(), ScriptedSession(script)).run(ONE)


def look_up(word: str) -> str:
    """Look a word up."""
    raise ValueError(f"no entry for {word}")


def test_a_tool_that_raises_is_an_observation_and_the_run_goes_on() -> None:
    def script(call: LMCall) -> str:
        if "next_tool_name" not in requested(call):
            return written(reasoning="r", answer="none")
        name = "finish" if "no entry for tree" in str(call.messages) else "look_up"
        arguments = "{}" if name == "finish" else '{"word": "tree"}'
        return written(next_thought="t", next_tool_name=name, next_tool_args=arguments)

    agent = dspy.ReAct("question -> answer", tools=[look_up])
    trace = bound(agent, ScriptedSession(script)).run(ONE)
    assert [step.module for step in trace.steps] == ["react", "react", "extract.predict"]
    assert trace.failure is None
    assert trace.outputs is not None
    assert trace.outputs["answer"] == "none"
    assert "no entry for tree" in trace.outputs["trajectory"]["observation_0"]


def test_an_agent_shortens_a_trajectory_that_no_longer_fits() -> None:
    def script(call: LMCall) -> str:
        if "observation_1" in str(call.messages) and "observation_0" in str(call.messages):
            raise CallFailed("context_window", "too long")
        if "next_tool_name" not in requested(call):
            return written(reasoning="r", answer="done")
        return written(next_thought="t", next_tool_name="look_up", next_tool_args='{"word": "w"}')

    agent = dspy.ReAct("question -> answer", tools=[look_up], max_iters=3)
    trace = bound(agent, ScriptedSession(script)).run(ONE)
    assert trace.outputs is not None
    assert trace.outputs["answer"] == "done"
    assert [each.kind for each in trace.made_up_for] == ["context_window"]


def test_dspys_warnings_of_what_happens_in_every_run_are_kept_off_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Sloppy(Single):
        def forward(self, question: str) -> Any:
            return self.answer(question=3, more="not asked for")

    bound(Sloppy("question: str -> answer")).run(ONE)
    assert capsys.readouterr().err == ""
    with dspy.context(lm=dspy.utils.DummyLM([{"answer": "x"}])):
        Sloppy("question: str -> answer")(question="q")
    assert "not in signature" in capsys.readouterr().err


def test_an_exit_is_the_programs_own_failure() -> None:
    class Leaving(LocateSolve):
        def forward(self, table: str, question: str) -> Any:
            self.locate(table=table, question=question)
            sys.exit("no")

    program = bound(Leaving())
    trace = program.run(INPUTS)
    assert trace.failure is not None
    assert (trace.failure.kind, trace.failure.message) == ("program_error", "SystemExit: no")
    assert program.inputs_of("solve", INPUTS) is None


def test_an_exit_in_a_predictor_is_its_failure() -> None:
    class Leaving(dspy.Predict):
        def forward(self, **inputs: Any) -> Any:
            sys.exit("no")

    class Program(LocateSolve):
        def __init__(self) -> None:
            super().__init__()
            self.locate = Leaving("table, question -> task")

    program = bound(Program())
    for step in (program.run(INPUTS).steps[0], program.run_module("locate", INPUTS)):
        assert step.failure is not None
        assert (step.failure.kind, step.failure.module) == ("program_error", "locate")


def test_a_program_without_a_model_is_told_how_to_get_one() -> None:
    with pytest.raises(PipelineError, match=r"names no model; give it one, as in dspy.configure\("):
        from_dspy(LocateSolve())(**INPUTS)
