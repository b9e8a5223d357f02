"""A predictor's step is remembered by what decides it, and by nothing less."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.programs.memo import Memo
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve, Single, bound
from tests.pipelines.scripted_session import ScriptedSession, written

INPUTS = {"table": "t", "question": "q"}
ONE = {"question": "q"}


def test_a_remembered_run_asks_nothing_and_tells_the_same() -> None:
    memo = Memo()
    session = ScriptedSession()
    first = bound(LocateSolve(), session, memo=memo).run(INPUTS)
    assert bound(LocateSolve(), session, memo=memo).run(INPUTS) == first
    assert len(session.calls) == 2


def test_another_config_asks_only_for_what_it_changes() -> None:
    memo = Memo()
    session = ScriptedSession()
    pipeline = from_dspy(LocateSolve())
    bound(pipeline, session, memo=memo).run(INPUTS)
    changed = pipeline.default_config("a").with_models({"solve": "b"})
    trace = bound(pipeline, session, changed, memo).run(INPUTS)
    assert trace.outputs == {"answer": "answer by b#0"}
    assert [call.model.label for call in session.calls] == ["a", "a", "b"]


def test_failures_are_remembered_as_they_were_and_outages_are_not() -> None:
    kinds = ["timeout", "refusal"]

    def fail(call: LMCall) -> str:
        raise CallFailed(kinds.pop(0), "no")

    program = bound(Single(), ScriptedSession(fail), memo=Memo())
    failures = [program.run(ONE).failure for _ in range(3)]
    assert [each and each.kind for each in failures] == ["timeout", "refusal", "refusal"]


def test_a_program_catches_a_remembered_error_by_its_own_type() -> None:
    class Careful(Single):
        def forward(self, question: str) -> Any:
            try:
                return self.answer(question=question)
            except dspy.utils.exceptions.AdapterParseError as error:
                return dspy.Prediction(answer=error.lm_response)

    session = ScriptedSession(lambda call: "no form")
    program = bound(Careful(), session, memo=Memo())
    assert [program.run(ONE).outputs for _ in range(2)] == [{"answer": "no form"}] * 2
    assert len(session.calls) == 2  # once in each form


def test_what_a_program_writes_into_a_prediction_is_not_remembered() -> None:
    class Writing(Single):
        def forward(self, question: str) -> Any:
            said = self.answer(question=question)
            said.items_.append("mine")
            said.extra = "mine"
            return said

    session = ScriptedSession(lambda call: written(items_='["theirs"]'))
    program = bound(Writing("question -> items_: list[str]"), session, memo=Memo())
    for _ in range(3):
        assert program.run(ONE).outputs == {"items_": ["theirs", "mine"], "extra": "mine"}
    assert len(session.calls) == 1


def test_inputs_without_an_exact_form_are_not_taken_for_each_other() -> None:
    class Opaque:
        def __str__(self) -> str:
            return "the same for all"

    session = ScriptedSession()
    program = bound(Single(), session, memo=Memo())
    for _ in range(2):
        program.run({"question": Opaque()})
    assert len(session.calls) == 2


@pytest.mark.parametrize(
    "override",
    [
        {"config": {"temperature": 0.9}},
        {"demos": [dspy.Example(question="shown", answer="y")]},
        {"signature": "question -> answer, more"},
    ],
    ids=["config", "demos", "signature"],
)
def test_a_call_that_says_more_than_inputs_is_asked(override: dict[str, Any]) -> None:
    class Overriding(Single):
        def forward(self, question: str) -> Any:
            self.answer(question=question)
            return self.answer(question=question, **override)

    session = ScriptedSession()
    bound(Overriding(), session, memo=Memo()).run(ONE)
    assert len(session.calls) == 2
    assert session.calls[0].key != session.calls[1].key


def test_another_way_of_writing_prompts_is_asked() -> None:
    class Otherwise(Single):
        def forward(self, question: str) -> Any:
            self.answer(question=question)
            with dspy.context(adapter=dspy.XMLAdapter()):
                return self.answer(question=question)

    session = ScriptedSession(lambda call: written(answer="x") + "<answer>x</answer>")
    bound(Otherwise(), session, memo=Memo()).run(ONE)
    assert len(session.calls) == 2


def test_a_copy_that_was_edited_is_asked() -> None:
    class Editing(Single):
        def forward(self, question: str) -> Any:
            self.answer(question=question)
            edited = self.answer.deepcopy()
            edited.signature = edited.signature.with_instructions("Otherwise.")
            return edited(question=question)

    session = ScriptedSession()
    trace = bound(Editing(), session, memo=Memo()).run(ONE)
    assert [step.module for step in trace.steps] == ["answer", "answer"]
    assert "Otherwise." in str(session.calls[1].messages)


def test_a_predictor_of_the_users_own_class_does_its_own_work_each_time() -> None:
    class Shouting(dspy.Predict):
        shouts = 0

        def forward(self, **inputs: Any) -> Any:
            Shouting.shouts += 1
            said = super().forward(**inputs)
            return dspy.Prediction(answer=said.answer.upper())

        def whisper(self) -> str:
            return "psst"

    class Program(Single):
        def __init__(self) -> None:
            super().__init__()
            self.answer = Shouting("question -> answer")

        def forward(self, question: str) -> Any:
            assert isinstance(self.answer, Shouting)
            assert self.answer.whisper() == "psst"
            return self.answer(question=question)

    pipeline = from_dspy(Program())
    wide = pipeline.default_config("a").with_knobs(
        "answer", models=("b", "b"), width=2, aggregator="majority_vote", temperature=0.5
    )
    for config in (pipeline.default_config("b"), wide):
        program = bound(pipeline, config=config, memo=Memo())
        assert [program.run(ONE).outputs for _ in range(2)] == [{"answer": "ANSWER BY B#0"}] * 2
    assert Shouting.shouts == 4
