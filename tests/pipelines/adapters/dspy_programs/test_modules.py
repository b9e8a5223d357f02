"""A program's predictors are its modules, by the names and in the order that DSPy has them."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import dspy
import pytest

from pipelines import PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve, Single, bound
from tests.pipelines.scripted_session import ScriptedSession

Pair = namedtuple("Pair", ["first", "second"])


def search(query: str) -> str:
    """Look something up."""
    return f"about {query}"


def names(program: dspy.Module) -> list[str]:
    return [module.name for module in from_dspy(program).modules]


def holding(**attributes: Any) -> dspy.Module:
    program = Single()
    program.__dict__.update(attributes)
    return program


def test_predictors_come_in_the_order_of_dspy() -> None:
    assert names(LocateSolve()) == ["locate", "solve"]


def test_a_predictor_alone_is_a_program() -> None:
    pipeline = from_dspy(dspy.Predict("question -> answer"))
    assert [module.name for module in pipeline.modules] == ["self"]
    assert pipeline.inputs == ("question",)
    assert bound(pipeline).run({"question": "q"}).outputs == {"answer": "answer by a#0"}


def test_chain_of_thought_writes_its_reasoning_and_does_not_return_it_as_an_answer() -> None:
    pipeline = from_dspy(dspy.ChainOfThought("question -> answer"))
    assert [module.name for module in pipeline.modules] == ["predict"]
    assert pipeline.outputs == ("answer",)
    trace = bound(pipeline).run({"question": "q"})
    assert trace.steps[0].outputs == {"reasoning": "reasoning by a#0", "answer": "answer by a#0"}


def test_react_has_two() -> None:
    assert names(dspy.ReAct("question -> answer", tools=[search])) == ["react", "extract.predict"]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"hop": Single()}, ["answer", "hop.answer"]),
        ({"hops": [dspy.Predict("a -> b"), Single()]}, ["answer", "hops[0]", "hops[1].answer"]),
        ({"by": {"en": dspy.Predict("a -> b")}}, ["answer", "by['en']"]),
        ({"both": (dspy.Predict("a -> b"),)}, ["answer", "both[0]"]),
    ],
    ids=["a module", "a list", "a dict", "a tuple"],
)
def test_what_a_program_holds_is_named(held: dict[str, Any], expected: list[str]) -> None:
    assert names(holding(**held)) == expected


@pytest.mark.parametrize(
    "hold",
    [
        lambda p: [p],
        lambda p: (p,),
        lambda p: {"one": p},
        lambda p: Pair(p, None),
    ],
    ids=["list", "tuple", "dict", "namedtuple"],
)
def test_what_is_held_is_what_is_tuned(hold: Any) -> None:
    class Holding(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = hold(dspy.Predict("question -> answer"))

        def forward(self, question: str) -> Any:
            held = self.held
            return next(iter(held.values() if isinstance(held, dict) else held))(question=question)

    pipeline = from_dspy(Holding())
    (module,) = pipeline.modules
    config = pipeline.default_config("b")
    (step,) = bound(pipeline, config=config).run({"question": "q"}).steps
    assert (step.module, step.outputs) == (module.name, {"answer": "answer by b#0"})


@pytest.mark.parametrize("hold", [set, frozenset], ids=["set", "frozenset"])
def test_what_dspy_does_not_name_stays_as_it_is_and_asks_through_the_gateway(hold: Any) -> None:
    class Holding(Single):
        def forward(self, question: str) -> Any:
            (other,) = self.others
            return self.answer(question=other(question=question).hint)

    hint = dspy.Predict("question -> hint")
    session = ScriptedSession()
    pipeline = from_dspy(Holding(others=hold([hint])))
    trace = bound(pipeline, session).run({"question": "q"})
    assert [step.module for step in trace.steps] == ["others[0]", "answer"]
    assert len(session.calls) == 2
    assert hint.lm is None


def test_a_module_that_was_compiled_before_is_left_alone() -> None:
    class Twice(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = Single()
            self.frozen._compiled = True
            self.frozen.answer.demos = [dspy.Example(question="kept", answer="yes")]
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.answer(question=self.frozen(question=question).answer)

    assert names(Twice()) == ["answer"]
    session = ScriptedSession()
    trace = bound(Twice(), session).run({"question": "q"})
    assert [step.module for step in trace.steps] == ["frozen.answer", "answer"]
    assert "kept" in str(session.calls[0].messages)


def test_instructions_demos_and_temperature_are_where_the_search_starts() -> None:
    program = LocateSolve()
    program.solve = dspy.Predict("task -> answer", temperature=0.4)
    program.solve.demos = [dspy.Example(task="1 + 1", answer="2").with_inputs("task")]
    session = ScriptedSession()
    config = from_dspy(program).default_config("a")
    assert config.modules["solve"].temperature == 0.4
    assert config.modules["solve"].demos == ({"task": "1 + 1", "answer": "2"},)
    bound(program, session).run({"table": "t", "question": "q"})
    assert "Extract the task whose ID" in str(session.calls[0].messages)
    assert "1 + 1" in str(session.calls[1].messages)
    assert [call.temperature for call in session.calls] == [None, 0.4]


def test_a_program_without_predictors_is_refused() -> None:
    class Late(dspy.Module):
        def forward(self, question: str) -> Any:
            return dspy.Predict("question -> answer")(question=question)

    with pytest.raises(PipelineError, match="Late has no predictors to tune: make them in __init_"):
        from_dspy(Late())


def test_two_predictors_of_one_name_are_refused() -> None:
    with pytest.raises(PipelineError, match=r"two predictors are called \"by\['1'\]\""):
        from_dspy(holding(by={1: dspy.Predict("a -> b"), "1": dspy.Predict("a -> b")}))


def test_one_predictor_in_two_places_is_refused() -> None:
    shared = dspy.Predict("a -> b")
    with pytest.raises(PipelineError, match="'one' and 'two' are one predictor"):
        from_dspy(holding(one=shared, two=shared))


def test_a_predictor_in_a_corpus_is_refused() -> None:
    with pytest.raises(PipelineError, match="more than 1000 entries"):
        from_dspy(holding(many=[dspy.Predict("a -> b"), *["text"] * 1000]))


def test_what_is_no_program_is_refused() -> None:
    wrong: Any = "question -> answer"
    with pytest.raises(PipelineError, match="a DSPy program is a"):
        from_dspy(wrong)
