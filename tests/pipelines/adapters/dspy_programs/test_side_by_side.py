"""Predictors in threads, in `dspy.Parallel`, and asked again by `BestOfN` and `Refine`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import dspy
import pytest

from pipelines import PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.call import BudgetExhausted, LMCall
from pipelines.programs.memo import Memo
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve, Single, bound
from tests.pipelines.scripted_session import ScriptedSession, requested, signed, written

ONE = {"question": "q"}


class Both(dspy.Module):
    """Asks two predictors at a time, by what it is made with."""

    def __init__(self, together: Any) -> None:
        super().__init__()
        self.one = dspy.Predict("question -> answer")
        self.two = dspy.Predict("question -> hint")
        self.together = together

    def forward(self, question: str) -> Any:
        one, two = self.together([(self.one, {"question": question}),
                                  (self.two, {"question": question})])  # fmt: skip
        return dspy.Prediction(answer=one.answer, hint=two.hint)


def in_parallel(pairs: Any) -> Any:
    return dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)


def in_threads(pairs: Any) -> Any:
    """As plain Python has it: without DSPy's settings, which do not reach other threads."""
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda pair: pair[0](**pair[1]), pairs))


TOGETHER = pytest.mark.parametrize("together", [in_parallel, in_threads])


@TOGETHER
def test_predictors_in_threads_leave_their_steps(together: Any) -> None:
    session = ScriptedSession()
    config = PipelineConfig(
        modules={"one": ModuleConfig(models=("a",)), "two": ModuleConfig(models=("b",))}
    )
    trace = bound(Both(together), session, config).run(ONE)
    assert trace.outputs == {"answer": "answer by a#0", "hint": "hint by b#0"}
    assert sorted(step.module for step in trace.steps) == ["one", "two"]
    assert len(trace.calls) == 2


@TOGETHER
def test_a_run_can_stop_at_one_of_them(together: Any) -> None:
    assert bound(Both(together)).inputs_of("two", ONE) == {"question": "q"}


@TOGETHER
def test_an_exhausted_budget_passes_through_threads(together: Any) -> None:
    def script(call: LMCall) -> str:
        raise BudgetExhausted("no more")

    with pytest.raises(BudgetExhausted):
        bound(Both(together), ScriptedSession(script)).run(ONE)


def test_replies_are_read_alike_in_any_thread() -> None:
    class InAThread(Single):
        def forward(self, question: str) -> Any:
            with ThreadPoolExecutor(1) as threads:
                return threads.submit(self.answer, question=question).result()

    session = ScriptedSession(lambda call: "unparsable")
    (step,) = bound(InAThread(), session).run(ONE).steps
    assert [call.asked_again for call in step.calls] == [True, False]


def test_past_the_gateway_nothing_is_asked_in_dspys_threads_either() -> None:
    class PastIt(Single):
        def forward(self, question: str) -> Any:
            late = dspy.Predict("question -> hint")
            late.lm = dspy.LM("openai/gpt-4o-mini")
            in_parallel([(late, {"question": question}), (self.answer, {"question": question})])
            return dspy.Prediction(answer="x")

    with pytest.raises(PipelineError, match="past the gateway"):
        bound(PastIt()).run(ONE)


def test_runs_that_go_on_at_once_do_not_mix_their_steps_nor_their_attributes() -> None:
    class Remembering(LocateSolve):
        def forward(self, table: str, question: str) -> Any:
            self.question = question
            said = super().forward(table, question)
            return dspy.Prediction(answer=said.answer, asked=self.question)

    def script(call: LMCall) -> str:
        return written(**dict.fromkeys(requested(call), call.messages[-1]["content"]))

    program, questions = bound(Remembering(), ScriptedSession(script)), [f"q{n}" for n in range(64)]
    with ThreadPoolExecutor(64) as threads:
        runs = [{"table": "t", "question": question} for question in questions]
        traces = list(threads.map(program.run, runs))
    for question, trace in zip(questions, traces, strict=True):
        assert [step.module for step in trace.steps] == ["locate", "solve"]
        assert trace.steps[0].inputs["question"] == question
        assert trace.outputs is not None
        assert trace.outputs["asked"] == question


def test_what_one_run_leaves_behind_decides_nothing_in_another() -> None:
    class Growing(Single):
        def forward(self, question: str) -> Any:
            self.seen.append(question)
            self.times += 1
            said = self.answer(question=question).answer
            return {"answer": said, "seen": list(self.seen), "times": self.times}

    original = Growing(seen=[], times=0)
    program = bound(original)
    for question in ("one", "two"):
        outputs = program.run({"question": question}).outputs
        assert outputs == {"answer": "answer by a#0", "seen": [question], "times": 1}
    assert (original.seen, original.times) == ([], 0)


def long_enough(_: Any, prediction: dspy.Prediction) -> float:
    return 1.0 if prediction.answer.endswith("2000") else 0.0


def again(kind: Any, module: dspy.Module) -> dspy.Module:
    class Again(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.best = kind(module=module, N=3, reward_fn=long_enough, threshold=1.0)

        def forward(self, **inputs: Any) -> Any:
            return self.best(**inputs)

    return Again()


def test_best_of_n_asks_other_samples_at_its_own_temperature() -> None:
    session = ScriptedSession()
    program = again(dspy.BestOfN, dspy.ChainOfThought("question -> answer"))
    pipeline = from_dspy(program)
    (name,) = [module.name for module in pipeline.modules]
    trace = bound(pipeline, session, pipeline.default_config("b")).run(ONE)
    assert trace.outputs is not None
    assert trace.outputs["answer"] == "answer by b#2000"
    assert [step.module for step in trace.steps] == [name] * 3
    asked = [(call.model.label, call.sample, call.temperature) for call in session.calls]
    assert asked == [("b", 0, 1.0), ("b", 1000, 1.0), ("b", 2000, 1.0)]


def test_best_of_n_leaves_each_predictor_of_a_module_its_own_model() -> None:
    session = ScriptedSession()
    pipeline = from_dspy(again(dspy.BestOfN, LocateSolve()))
    first, second = (module.name for module in pipeline.modules)
    config = pipeline.default_config("a").with_models({second: "b"})
    inputs = {"table": "t", "question": "q"}
    trace = bound(pipeline, session, config, memo=Memo()).run(inputs)
    assert trace.outputs == {"answer": "answer by b#2000"}
    assert [step.module for step in trace.steps] == [first, second] * 3
    assert {step.calls[0].model for step in trace.steps if step.module == first} == {"a"}


def test_best_of_n_of_a_wide_predictor_asks_all_its_members_each_time() -> None:
    session = ScriptedSession()
    pipeline = from_dspy(again(dspy.BestOfN, dspy.Predict("question -> answer")))
    (module,) = pipeline.modules
    config = pipeline.default_config("a").with_knobs(
        module.name, models=("a", "b"), width=2, aggregator="majority_vote"
    )
    trace = bound(pipeline, session, config, memo=Memo()).run(ONE)
    assert [len(step.calls) for step in trace.steps] == [2, 2, 2]


@pytest.mark.parametrize("kind", [dspy.BestOfN, dspy.Refine])
def test_attempts_that_fail_print_nothing_in_a_run(
    kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    program = again(kind, dspy.Predict("question -> answer"))
    trace = bound(program, ScriptedSession(lambda call: "no field at all")).run(ONE)
    assert trace.failure is not None
    assert capsys.readouterr().out == ""
    with dspy.context(lm=dspy.utils.DummyLM([{"other": "x"}] * 20)), suppress(Exception):
        program(**ONE)
    assert "ttempt" in capsys.readouterr().out, "elsewhere it says what failed"


def test_refine_advises_by_a_predictor_that_it_makes_itself() -> None:
    def script(call: LMCall) -> str:
        if "advice" not in requested(call):
            return signed(call)
        return written(discussion="d", advice='{"best.module": "end with 2000"}')

    session = ScriptedSession(script)
    trace = bound(again(dspy.Refine, dspy.Predict("question -> answer")), session).run(ONE)
    assert trace.outputs == {"answer": "answer by a#2000"}
    made = [step.module for step in trace.steps if step.module.startswith("made in forward")]
    assert len(made) == 2
    assert len(trace.calls) == len(session.calls) == 5
