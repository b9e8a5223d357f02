"""The user's program is what it was before, and what it holds is shared or copied as promised."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest

from pipelines import PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.model import Model
from pipelines.programs.memo import Memo
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve, Single, bound, prompt
from tests.pipelines.scripted_session import ScriptedSession, requested

ONE = {"question": "q"}
INPUTS = {"table": "t", "question": "q"}


def test_a_program_is_as_it_was_after_many_runs_at_once() -> None:
    program = LocateSolve()
    program.solve.lm = lm = dspy.LM("sim/c", temperature=0.2)
    program.solve.demos = demos = [dspy.Example(task="t", answer="a")]
    state, attributes = program.dump_state(), dict(vars(program))
    inside = {name: dict(vars(each)) for name, each in program.named_predictors()}
    pipeline = from_dspy(program)
    wide = pipeline.default_config("a").with_knobs(
        "solve", models=("a", "b"), width=2, aggregator="majority_vote", instructions="Otherwise."
    )
    running = bound(pipeline, config=wide, memo=Memo())
    with ThreadPoolExecutor(64) as threads:
        list(threads.map(running.run, [{"table": "t", "question": str(n)} for n in range(64)]))
    assert program.dump_state() == state
    assert vars(program) == attributes
    assert {name: vars(each) for name, each in program.named_predictors()} == inside
    assert program.solve.lm is lm
    assert program.solve.demos is demos
    assert lm.history == []


class Retriever:
    """What can't be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked: list[str] = []

    def __call__(self, query: str) -> list[str]:
        with self.lock:
            self.asked.append(query)
        return [f"about {query}"]

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("it must not be copied")


def test_a_retriever_and_a_corpus_are_shared_and_not_copied() -> None:
    class Retrieving(Single):
        def forward(self, question: str) -> Any:
            assert self.corpus is corpus
            assert self.lock is lock
            return self.answer(question=str(self.retrieve(question)))

    corpus, lock, retriever = ["passage"] * 200_000, threading.Lock(), Retriever()
    program = Retrieving(corpus=corpus, lock=lock, retrieve=retriever)
    bound(program).run(ONE)
    assert retriever.asked == ["q"]


class Agent(dspy.Module):
    """Its tool is a method of its own, which asks a predictor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[self.look_up], max_iters=1)
        self.summarise = dspy.Predict("text -> summary")

    def look_up(self, word: str) -> str:
        """Look a word up."""
        return str(self.summarise(text=word).summary)

    def forward(self, question: str) -> Any:
        return self.agent(question=question)


def test_a_tool_that_is_a_method_asks_the_predictors_that_are_tuned() -> None:
    def script(call: Any) -> str:
        values = {"next_tool_name": "look_up", "next_tool_args": '{"word": "tree"}'}
        said = {name: values.get(name, f"by {call.model.label}") for name in requested(call)}
        return "\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in said.items())

    pipeline = from_dspy(Agent())
    config = pipeline.default_config("a").with_models({"summarise": "b"})
    trace = bound(pipeline, ScriptedSession(script), config).run(ONE)
    assert [step.module for step in trace.steps] == [
        "agent.react",
        "summarise",
        "agent.extract.predict",
    ]
    assert trace.step("summarise").outputs == {"summary": "by b"}


def changes_demos(program: Any) -> None:
    program.answer.demos.append(dspy.Example(question="new", answer="new"))


def changes_signature(program: Any) -> None:
    program.answer.signature = program.answer.signature.with_instructions("Otherwise.")


def changes_lm(program: Any) -> None:
    program.answer.lm = None


def changes_config(program: Any) -> None:
    program.answer.update_config(temperature=1.0)


@pytest.mark.parametrize("change", [changes_demos, changes_signature, changes_lm, changes_config])
def test_a_program_that_changes_a_predictor_while_it_runs_is_refused(change: Any) -> None:
    class Changing(Single):
        def forward(self, question: str) -> Any:
            change(self)
            return self.answer(question=question)

    program = Changing()
    state = program.dump_state()
    with pytest.raises(PipelineError, match="'Changing' changes its predictor 'answer' while it"):
        bound(program).run(ONE)
    assert program.dump_state() == state


def test_a_program_that_replaces_a_predictor_while_it_runs_is_refused() -> None:
    class Replacing(Single):
        def forward(self, question: str) -> Any:
            self.answer = dspy.Predict("question -> answer")
            return self.answer(question=question)

    with pytest.raises(PipelineError, match="'Replacing' replaces its predictor 'answer' while"):
        bound(Replacing()).run(ONE)


def test_what_was_configured_writes_the_prompts() -> None:
    with dspy.context(adapter=dspy.JSONAdapter()):
        pipeline = from_dspy(LocateSolve())
    session = ScriptedSession(lambda call: '{"task": "from json", "answer": "from json"}')
    assert bound(pipeline, session).run(INPUTS).outputs == {"answer": "from json"}
    assert "Respond with a JSON object" in prompt(session.calls[0])
    assert pipeline.identity != from_dspy(LocateSolve()).identity


def test_the_name_of_a_keys_variable_identifies_nothing() -> None:
    def identity(**fields: Any) -> Any:
        return from_dspy(LocateSolve()).with_fallback(Model("openai/x", **fields)).identity

    assert identity(api_key_env="MINE") == identity(api_key_env="YOURS") == identity()
    assert identity(max_tokens=7) != identity()
