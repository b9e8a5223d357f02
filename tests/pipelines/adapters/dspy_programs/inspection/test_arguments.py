"""What a program takes from an example: what its `forward` says, or else its signature."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from pipelines import PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve, Single, bound


class Optional(Single):
    def forward(self, question: str, hint: str = "none") -> Any:
        return dspy.Prediction(answer=f"{self.answer(question=question).answer}, {hint}")


class Anything(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.Predict("question, context -> thought")
        self.answer = dspy.Predict("question, thought -> answer")

    def forward(self, **inputs: Any) -> Any:
        thought = self.think(**inputs).thought
        return self.answer(question=inputs["question"], thought=thought)


def test_the_parameters_of_forward_are_the_inputs() -> None:
    assert from_dspy(LocateSolve()).inputs == ("table", "question")


def test_a_parameter_with_a_default_is_taken_where_there_is_a_column_for_it() -> None:
    pipeline = from_dspy(Optional())
    assert pipeline.for_columns(["question", "answer"], None).inputs == ("question",)
    assert pipeline.for_columns(["question", "hint"], None).inputs == ("question", "hint")


def test_a_default_holds_where_nothing_is_given() -> None:
    assert bound(Optional()).run({"question": "q"}).outputs == {"answer": "answer by a#0, none"}
    given = bound(Optional()).run({"question": "q", "hint": "yes", "more": "ignored"})
    assert given.outputs == {"answer": "answer by a#0, yes"}


def test_of_a_forward_that_takes_anything_the_predictors_tell() -> None:
    assert from_dspy(Anything()).inputs == ("question", "context")


def test_what_examples_call_their_inputs_goes_before_a_guess() -> None:
    guessed = from_dspy(Anything()).for_columns(["question", "context", "id"], ["question"])
    assert guessed.inputs == ("question",)
    said = from_dspy(LocateSolve()).for_columns(["table", "question"], ["question"])
    assert said.inputs == ("table", "question")


def test_react_takes_what_its_signature_reads() -> None:
    react = dspy.ReAct("question, style -> answer", tools=[])
    assert from_dspy(react).inputs == ("question", "style")


def test_a_missing_input_is_named_with_the_nearest() -> None:
    with pytest.raises(PipelineError, match=r"input 'question' is missing.*'qestion'"):
        bound(LocateSolve()).run({"table": "t", "qestion": "q"})


def test_a_program_without_forward_is_refused() -> None:
    class Idle(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

    with pytest.raises(PipelineError, match="Idle must have a method `forward` or `aforward`"):
        from_dspy(Idle())


def test_fields_that_a_run_returned_take_the_place_of_a_guess() -> None:
    pipeline = from_dspy(Anything())
    assert pipeline.outputs == ("thought", "answer")
    assert pipeline.with_outputs(("answer",)).outputs == ("answer",)
    assert pipeline.with_outputs(()).outputs == ("thought", "answer")


def test_fields_that_the_user_has_declared_stay() -> None:
    pipeline = from_dspy(Anything(), outputs=["answer"])
    assert pipeline.with_outputs(("thought", "answer")).outputs == ("answer",)
    assert from_dspy(Anything(), outputs="answer").outputs == ("answer",)


def test_a_declared_field_that_is_not_returned_is_the_programs_failure() -> None:
    trace = bound(from_dspy(Single(), outputs=["anwser"])).run({"question": "q"})
    failure = trace.failure
    assert failure is not None
    assert trace.outputs is None, "else a metric would score it"
    assert failure.kind == "program_error"
    assert "must return the output 'anwser', but returned ['answer']; nearest" in failure.message


def test_what_a_mapping_has_instead_is_told_whatever_its_keys_are() -> None:
    class Counting(Single):
        def forward(self, question: str) -> Any:
            return {1: "one", "two": question}

    failure = bound(from_dspy(Counting(), outputs=["answer"])).run({"question": "q"}).failure
    assert failure is not None
    assert "but returned ['1', 'two']" in failure.message


def test_what_the_user_has_declared_is_part_of_the_identity() -> None:
    guessed, said = from_dspy(Anything()), from_dspy(Anything(), outputs=["answer"])
    assert guessed.identity != said.identity
    assert guessed.with_outputs(["answer"]).identity == guessed.identity


def test_labels_that_its_code_names_may_be_returned_where_no_predictor_writes_one() -> None:
    class Counting(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.list = dspy.Predict("text -> items: list[str]")

        def forward(self, text: str) -> Any:
            items = self.list(text=text).items
            return dspy.Prediction(count=len(items), first=min(items))

    pipeline = from_dspy(Counting())
    assert pipeline.for_columns(["text", "count", "id"], None).outputs == ("items", "count")
    assert pipeline.for_columns(["text", "id"], None).outputs == ("items",)
    assert pipeline.for_columns(["text", "items", "count"], None).outputs == ("items",)
    said = from_dspy(Counting(), outputs=["first"])
    assert said.for_columns(["text", "count"], None).outputs == ("first",)
