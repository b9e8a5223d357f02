"""Judged metrics: what the judge is asked, how its verdict becomes a score, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.worlds import simulated_dataset
from evaluators.dataset import Dataset
from evaluators.errors import MetricError
from evaluators.evaluator import Evaluator
from evaluators.metrics import (
    BoundMetric,
    JudgedMetric,
    Score,
    llm_judge,
    llm_preference,
    resolve_metric,
)
from evaluators.metrics.human_labels import judge_agreement
from pipelines import Failure, Module, Pipeline, Tunable
from pipelines.adapters.callables import from_callable
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from tests.pipelines.scripted_session import Script, ScriptedSession, one, received, written

PIPELINE = Pipeline("ask", [Module("solve", "question -> answer", strategy="chain_of_thought")])
TWO = Pipeline("two", [Module("solve", "question -> title, text")])
EXAMPLE = {"question": "What is 1+1?", "gold": 2}
RUBRIC = "It is short."
NOTHING: Any = None
JUDGE = Model("sim/arbiter", label="arbiter")
LABELS = [{"question": f"q{n}", "answer": f"a{n}", "human": n % 2} for n in range(20)]
OTHER = {"question": "another", "answer": "a", "human": 1}


def bound(
    metric: JudgedMetric, script: Script, pipeline: Tunable = PIPELINE
) -> tuple[BoundMetric, ScriptedSession]:
    session = ScriptedSession(script)
    account: Any = session
    return metric.bind(pipeline, JUDGE).open(account), session


def graded(script: Script, metric: JudgedMetric | None = None) -> tuple[Score, list[LMCall]]:
    """The score of the answer "2", and the calls that it took."""
    made, session = bound(metric or llm_judge(RUBRIC), script)
    return made(EXAMPLE, {"answer": "2", "reasoning": "one and one"}), session.calls


def grade(value: Any, reason: str = "too long") -> str:
    return written(reason=reason, grade=value)


def prefer(number: Any, reason: str = "it is right") -> str:
    return written(reason=reason, preferred=number)


def shown(call: LMCall) -> list[Any]:
    """The candidates in the order shown."""
    lines = received(call)["candidates"].splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["[1]", "[2]"]
    return [json.loads(line.partition(" ")[2]) for line in lines]


class TestGrades:
    def test_one_call_carries_inputs_answer_and_rubric_and_nothing_else(self) -> None:
        score, [call] = graded(lambda call: grade(0.25))
        assert score == Score(0.25, "graded 0.25 of 1: too long", usd=0.001)
        assert received(call) == {"question": "What is 1+1?", "candidate": '{"answer":"2"}'}
        assert RUBRIC in call.messages[0]["content"]
        assert (call.purpose, call.temperature, call.sample) == ("judge", 0.0, 0)
        assert "arbiter" not in " ".join(message["content"] for message in call.messages)

    def test_a_reference_is_shown_where_there_is_one(self) -> None:
        _, [call] = graded(lambda call: grade(1), llm_judge(RUBRIC, reference="gold"))
        assert received(call)["reference"] == "2"

    def test_fields_of_the_pipeline_keep_their_names(self) -> None:
        odd = Pipeline("odd", [Module("m", "candidate, grade: list[int] -> reason")])
        metric, session = bound(llm_judge(RUBRIC), lambda c: written(reason_="r", grade_=1), odd)
        assert metric({"candidate": "x", "grade": [1, 2]}, {"reason": "because"}).value == 1
        assert received(session.calls[0]) == {
            "candidate": "x",
            "grade": "[1,2]",
            "candidate_": '{"reason":"because"}',
        }

    @pytest.mark.parametrize("said", ["7", "-0.1", "nan", "good", "", "1/2"])
    def test_what_is_no_grade_is_asked_for_once_more(self, said: str) -> None:
        score, calls = graded(lambda call: grade(0.5 if call.sample else said))
        assert score.value == 0.5
        assert score.usd == pytest.approx(0.002)
        assert [(call.sample, call.temperature) for call in calls] == [(0, 0.0), (1, 1.0)]

    @pytest.mark.parametrize(
        ("said", "kind", "text"),
        [
            (grade(7), "judge_unparsable", "the grade must be from 0 to 1, but the judge said 7.0"),
            ("I'm sorry, but I can't help with that.", "judge_refusal", "can't help"),
            ("", "judge_empty", ""),
        ],
    )
    def test_without_a_verdict_there_is_no_score(self, said: str, kind: str, text: str) -> None:
        score, calls = graded(lambda call: said)
        assert len(calls) == 2
        assert score.value is None
        assert score.failure is not None
        assert (score.failure.kind, score.failure.module) == (kind, "judge")
        assert score.failure.infrastructure, "it says nothing of the answer"
        assert text in score.failure.message

    def test_an_outage_is_not_asked_again_and_is_no_score(self) -> None:
        def script(call: LMCall) -> str:
            raise CallFailed("server_error", "500: down")

        score, calls = graded(script)
        assert len(calls) == 1, "the gateway has tried again already"
        failure = Failure("judge_server_error", "judge", "500: down", infrastructure=True)
        assert score == Score(None, failure=failure)

    def test_a_spent_budget_passes_through(self) -> None:
        def script(call: LMCall) -> str:
            raise BudgetExhausted("no room")

        with pytest.raises(BudgetExhausted, match="no room"):
            graded(script)

    def test_a_mistake_of_ours_is_not_taken_for_a_failed_judge(self) -> None:
        def script(call: LMCall) -> str:
            raise AttributeError("a bug")

        with pytest.raises(MetricError, match="a bug"):
            graded(script)

    def test_without_a_session_it_says_what_is_missing(self) -> None:
        with pytest.raises(MetricError, match=r"BoundMetric\.open\(session\) comes first"):
            llm_judge(RUBRIC).bind(PIPELINE, JUDGE)(EXAMPLE, {"answer": "2"})


class TestPreferences:
    METRIC = llm_preference("gold")

    @pytest.mark.parametrize(
        ("says", "value"),
        [
            (lambda call: 1 + (shown(call)[1] == {"answer": "two"}), 1.0),
            (lambda call: 1 + (shown(call)[0] == {"answer": "two"}), 0.0),
            (lambda call: 1, 0.5),  # whatever comes first
            (lambda call: 2, 0.5),
        ],
    )
    def test_it_counts_in_how_many_orders_the_answer_is_preferred(
        self, says: Callable[[LMCall], int], value: float
    ) -> None:
        made, session = bound(self.METRIC, lambda call: prefer(says(call)))
        score = made(EXAMPLE, {"answer": "two"})
        first, second = (shown(call) for call in session.calls)
        assert first == [{"answer": "two"}, {"answer": "2"}] == second[::-1]
        assert score.value == value
        assert str(score.feedback).startswith(f"preferred to the reference in {2 * value:g} of 2")
        assert str(score.feedback).count("it is right") == 2

    @pytest.mark.parametrize("answer", ["2", " 2\n"])
    def test_the_reference_itself_ties_without_a_call(self, answer: str) -> None:
        made, session = bound(self.METRIC, lambda call: prefer(1))
        assert made(EXAMPLE, {"answer": answer}) == Score(0.5, "the answer is the reference")
        assert not session.calls

    @pytest.mark.parametrize("said", ["0", "3", "the first", ""])
    def test_without_both_verdicts_there_is_no_score(self, said: str) -> None:
        made, _ = bound(
            self.METRIC,
            lambda call: prefer(1 if shown(call)[0] == {"answer": "two"} else said),
        )
        score = made(EXAMPLE, {"answer": "two"})
        assert score.value is None
        assert score.failure is not None
        assert score.failure.kind.startswith("judge_")

    def test_a_rubric_is_reported(self) -> None:
        made, session = bound(llm_preference("gold", rubric=RUBRIC), lambda call: prefer(1))
        made(EXAMPLE, {"answer": "two"})
        assert RUBRIC in session.calls[0].messages[0]["content"]

    def test_of_several_outputs_those_named_are_compared(self) -> None:
        metric = llm_preference({"text": "gold"})
        made, session = bound(metric, lambda call: prefer(1), TWO)
        made(EXAMPLE, {"title": "T", "text": "two"})
        assert shown(session.calls[0]) == [{"text": "two"}, {"text": "2"}]
        assert made.fields == ("gold",)

    def test_a_column_must_fit_the_outputs(self) -> None:
        with pytest.raises(MetricError, match=r"such as {'title': \.\.\., 'text': \.\.\.}"):
            llm_preference("gold").bind(TWO, JUDGE)
        with pytest.raises(MetricError, match=r"the output 'txt', but .*; nearest: 'text'"):
            llm_preference({"txt": "gold"}).bind(TWO, JUDGE)

    def test_an_empty_reference_is_refused_at_the_door(self) -> None:
        rows = [EXAMPLE, {**EXAMPLE, "gold": None}]
        with pytest.raises(MetricError, match="on example 1: column 'gold' is empty"):
            llm_preference("gold").bind(PIPELINE, JUDGE).check(rows)


@given(first=st.sampled_from([1, 2]), second=st.sampled_from([1, 2]))
def test_swapping_answer_and_reference_swaps_the_score(first: int, second: int) -> None:
    """Whatever the judge's habit for each order."""

    def script(call: LMCall) -> str:
        return prefer(first if shown(call)[0] == {"answer": "x"} else second)

    made, _ = bound(llm_preference("gold"), script)
    score = made({**EXAMPLE, "gold": "y"}, {"answer": "x"}).value
    swapped = made({**EXAMPLE, "gold": "x"}, {"answer": "y"}).value
    assert score is not None
    assert swapped == 1 - score


class TestRefused:
    @pytest.mark.parametrize(
        ("make", "text"),
        [
            (lambda: llm_judge(" "), "must say in words what a good answer is, but got ' '"),
            (lambda: llm_judge(NOTHING), "must say in words what a good answer is, but got None"),
            (lambda: llm_judge("x", reference=""), "must name a column, but got ''"),
            (lambda: llm_judge("x", model=""), "must name a model, such as .*, but got ''"),
            (lambda: llm_preference(""), "must name a column, or one by output"),
            (lambda: llm_preference({}), "must name a column, or one by output.*, but got {}"),
            (lambda: llm_preference("gold", rubric=""), "must say in words what a good answer is"),
        ],
    )
    def test_when_it_is_made(self, make: Callable[[], Any], text: str) -> None:
        with pytest.raises(MetricError, match=text):
            make()

    @pytest.mark.parametrize("metric", ["llm_judge", llm_judge, "llm_preference", llm_preference])
    def test_its_name_alone(self, metric: Any) -> None:
        name = getattr(metric, "__name__", metric)
        with pytest.raises(MetricError, match=rf"needs a description .* such as metric={name}\(\""):
            resolve_metric(metric, ["answer"], ["answer"])
        with pytest.raises(MetricError, match=f"nearest: '{name}'"):
            resolve_metric(f"{name}s", ["answer"], ["answer"])

    @pytest.mark.parametrize(
        ("labels", "text"),
        [
            (LABELS[:19], "at least 20 human labels are needed to measure a judge, but there are"),
            ([], "at least 20 human labels are needed to measure a judge, but there are 0"),
            (
                [{"question": "q", "answer": "a", "humans": 1}] * 20,
                "need a column 'human', .*; nearest: 'humans'",
            ),
            (
                [{"question": "q", "answr": "a", "human": 1}] * 20,
                "need a column 'answer', .*; nearest: 'answr'",
            ),
            ([*LABELS, {**LABELS[0], "human": 4}], "in row 21 of the human labels it is 4"),
            ([*LABELS, {**LABELS[0], "human": None}], "in row 21 of the human labels it is None"),
            ([*LABELS, {**LABELS[0], "human": "good"}], "in row 21 .* it is 'good'"),
            ([{**row, "human": 0.5} for row in LABELS], "good answers and bad .* 20 of 20 are 0.5"),
            (
                [*({**row, "human": True} for row in LABELS), {**OTHER, "human": False}],
                "at least 2 that differ from the others, but 20 of 21 are 1",
            ),
        ],
    )
    def test_labels_that_tell_nothing(self, labels: Any, text: str) -> None:
        with pytest.raises(MetricError, match=text):
            llm_judge(RUBRIC, labels=labels).bind(PIPELINE, JUDGE)

    def test_labels_without_the_reference(self) -> None:
        with pytest.raises(MetricError, match="need a column 'gold', which they do not have"):
            llm_judge(RUBRIC, reference="gold", labels=LABELS).bind(PIPELINE, JUDGE)


def test_labels_of_a_csv_are_read_as_numbers() -> None:
    marks = ["1", "0", "0.5", "True", "false"] * 4
    lines = ["question,answer,human", *(f"q{n},a{n},{mark}" for n, mark in enumerate(marks))]
    Path("labels.csv").write_text("\n".join(lines), encoding="utf-8")
    made = llm_judge(RUBRIC, labels="labels.csv").bind(PIPELINE, JUDGE)
    assert made.judging is not None
    assert made.judging.labels is not None
    assert made.judging.labels.scores == (1.0, 0.0, 0.5, 1.0, 0.0) * 4
    assert made.human_labels == 20


def test_its_identity_changes_with_all_that_may_change_a_score() -> None:
    made = [
        llm_judge(RUBRIC).bind(PIPELINE, JUDGE),
        llm_judge("It is long.").bind(PIPELINE, JUDGE),
        llm_judge(RUBRIC).bind(PIPELINE, Model("sim/elm")),
        llm_judge(RUBRIC, reference="gold").bind(PIPELINE, JUDGE),
        llm_judge(RUBRIC, labels=LABELS).bind(PIPELINE, JUDGE),
        llm_judge(RUBRIC, labels=[*LABELS, OTHER]).bind(PIPELINE, JUDGE),
        llm_preference("gold").bind(PIPELINE, JUDGE),
        llm_preference("question").bind(PIPELINE, JUDGE),
    ]
    assert len({metric.identity for metric in made}) == len(made)
    assert made[0].identity == llm_judge(RUBRIC).bind(PIPELINE, JUDGE).identity


@pytest.fixture
def evaluator() -> Iterator[Evaluator]:
    """Two models that do sums, and a judge of them."""
    with closing(Gateway(None)) as gateway:
        session = gateway.session("study", None)
        metric = llm_judge("It is right.").bind(one(), Model("sim/elm")).open(session)
        models = {name: Model(f"sim/{name}") for name in ("birch", "larch")}
        rows = Dataset.load(simulated_dataset("arithmetic", 12))
        yield Evaluator(one(), models, rows, metric, session)


def test_judging_is_counted_apart_from_running_and_equal_answers_are_judged_once(
    evaluator: Evaluator,
) -> None:
    configs = [one().default_config(name) for name in evaluator.models]
    known = [list(evaluator.evaluate(c, range(12)).outcomes.values()) for c in configs]
    spent = evaluator.session.nominal.by_purpose
    assert spent["task"].usd == pytest.approx(sum(o.usd for each in known for o in each))
    assert sum(o.calls for each in known for o in each) == spent["task"].calls == 24
    assert 12 < spent["judge"].calls < 24, "both models are often right"
    assert sum(o.judge_usd for each in known for o in each) > spent["judge"].usd
    assert all(o.judge_usd > 0 for each in known for o in each)


class Answering(dspy.Module):
    """Returns one of the two fields that its predictors write."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = dspy.Predict("question -> plan")
        self.answer = dspy.Predict("question, plan -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        plan = self.plan(question=question).plan
        return dspy.Prediction(answer=self.answer(question=question, plan=plan).answer)


def test_a_program_says_which_of_its_fields_a_judge_sees() -> None:
    whole, text = from_dspy(Answering()), from_dspy(Answering(), outputs=["answer"])
    with pytest.raises(MetricError, match=r"from_dspy\(program, outputs=\[...\]\) says which"):
        llm_preference("gold").bind(whole, JUDGE)
    assert llm_preference("gold").bind(text, JUDGE).fields == ("gold",)
    graded, session = bound(llm_judge(RUBRIC), lambda call: grade(1), text)
    graded(EXAMPLE, {"plan": "secret", "answer": "2"})
    assert "secret" not in str(session.calls[0].messages)


def test_of_a_program_that_returns_something_else_all_but_the_reasoning_is_shown() -> None:
    metric, session = bound(llm_judge(RUBRIC), lambda call: grade(1), from_dspy(Answering()))
    metric(EXAMPLE, {"result": "2", "reasoning": "one and one"})
    assert json.loads(received(session.calls[0])["candidate"]) == {"result": "2"}


def test_a_preference_is_not_asked_about_fields_that_nobody_named() -> None:
    class Two(Answering):
        def __init__(self) -> None:
            super().__init__()
            del self.plan

    metric, _ = bound(llm_preference("gold"), lambda call: prefer(1), from_dspy(Two()))
    with pytest.raises(MetricError, match=r"must name a column by output.*'notes': \.\.\."):
        metric(EXAMPLE, {"notes": "n", "result": "2"})
    both = llm_preference({"plan": "gold", "answer": "gold"})
    metric, _ = bound(both, lambda call: prefer(1), from_dspy(Answering()))
    with pytest.raises(MetricError, match="compares the output 'plan', but there is none"):
        metric(EXAMPLE, {"answer": "2"})


def test_human_labels_have_all_that_the_judge_is_shown_and_no_more() -> None:
    declared = from_dspy(Answering(), outputs=["answer", "plan"])
    with pytest.raises(MetricError, match="need a column 'plan'"):
        llm_judge(RUBRIC, labels=LABELS).bind(declared, JUDGE)
    golden = [{**row, "gold": "g"} for row in LABELS]
    compared = llm_preference({"answer": "gold"}, labels=golden).bind(declared, JUDGE)
    assert compared.human_labels == 20


def test_a_field_that_a_program_was_not_said_to_return_is_found_at_the_door() -> None:
    declared = from_dspy(Answering(), outputs=["answer"])
    for pipeline in (declared, from_callable(lambda models: lambda q: q, ["m"], outputs="answer")):
        assert pipeline.knows_outputs
    assert not from_dspy(Answering()).knows_outputs
    assert not from_callable(lambda models: lambda q: q, ["m"]).knows_outputs


def test_human_labels_of_a_program_need_one_of_its_fields() -> None:
    bound_metric = llm_judge(RUBRIC, labels=LABELS).bind(from_dspy(Answering()), JUDGE)
    assert bound_metric.human_labels == 20
    bare = [{"question": row["question"], "human": row["human"]} for row in LABELS]
    with pytest.raises(MetricError, match="at least one of the columns plan, answer, but"):
        llm_judge(RUBRIC, labels=bare).bind(from_dspy(Answering()), JUDGE)


def test_an_answer_counts_once_among_human_labels() -> None:
    twice = [*LABELS, {**LABELS[3], "human": 0}]
    with pytest.raises(MetricError, match="rows 4 and 21 have the same answer to the same inputs"):
        llm_judge(RUBRIC, labels=twice).bind(PIPELINE, JUDGE)


def test_a_tie_agrees_by_half() -> None:
    undecided = judge_agreement("j", [0.5] * 10, [0, 1] * 5)
    assert (undecided.agreement, undecided.kappa) == (0.5, 0.0)
    sure = judge_agreement("j", [0.0, 0.5, 1.0, 1.0], [0, 1, 1, 1])
    assert sure.agreement == 0.875


@pytest.mark.parametrize("metric", [llm_judge(RUBRIC, labels=LABELS), llm_preference("gold")])
def test_a_judge_must_know_what_the_outputs_are(metric: JudgedMetric) -> None:
    """Else it would be shown whole rows of human labels, people's scores included."""
    code = from_callable(lambda models: lambda question: {}, ["solve"])
    with pytest.raises(MetricError, match="nothing says what they are: from_callable"):
        metric.bind(code, JUDGE)
