from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import dspy
import numpy as np
import pytest

from evaluators.errors import MetricError
from evaluators.metrics import (
    METRICS,
    Score,
    exact_match,
    f1,
    numeric_match,
    resolve_metric,
)

EXAMPLE = dspy.Example(question="1+1?", answer="2", unit="apples")


def predicted(**fields: Any) -> dspy.Prediction:
    return dspy.Prediction(**fields)


class TestNamed:
    def test_compares_outputs_that_have_a_column_but_the_reasoning(self) -> None:
        metric = resolve_metric(
            "exact_match", ["reasoning", "answer", "note"], ["reasoning", "answer", "question"]
        )
        assert metric.fields == ("answer",)
        assert metric.name == "exact_match"
        assert metric(EXAMPLE, predicted(answer=" 2. ", reasoning="?")) == Score(1.0)
        assert metric(EXAMPLE, {"answer": "3"}) == Score(0.0)

    def test_several_fields_must_all_match(self) -> None:
        metric = resolve_metric("exact_match", ["answer", "unit"], ["unit", "answer"])
        assert metric.fields == ("answer", "unit")
        assert metric(EXAMPLE, {"answer": "2", "unit": "apples"}).value == 1.0
        assert metric(EXAMPLE, {"answer": "2", "unit": "pears"}).value == 0.0

    def test_f1_averages_the_fields(self) -> None:
        metric = resolve_metric("f1", ["answer", "unit"], ["unit", "answer"])
        assert metric(EXAMPLE, {"answer": "2", "unit": "pears"}).value == 0.5

    def test_fields_and_columns_can_be_chosen(self) -> None:
        metric = resolve_metric(exact_match("answer"), ["answer", "unit"], ["unit", "answer"])
        assert metric.fields == ("answer",)
        renamed = resolve_metric(exact_match("total", "answer"), ["total"], ["answer"])
        assert renamed.fields == ("answer",)
        assert renamed(EXAMPLE, {"total": "2"}).value == 1.0
        assert metric.identity != renamed.identity

    def test_a_single_output_is_compared_with_mlflows_expected_response(self) -> None:
        columns = ["question", "expected_response"]
        metric = resolve_metric("exact_match", ["reasoning", "reply"], columns)
        assert metric.fields == ("expected_response",)
        example = dspy.Example(question="1+1?", expected_response="2")
        assert [metric(example, {"reply": said}).value for said in "23"] == [1, 0]
        with pytest.raises(MetricError, match="share none"):
            resolve_metric("exact_match", ["reply", "unit"], columns)
        with pytest.raises(MetricError, match="all columns are inputs"):
            resolve_metric("exact_match", ["reply"], columns, inputs=columns)

    def test_the_constructor_itself_means_the_default(self) -> None:
        by_function = resolve_metric(numeric_match, ["answer"], ["answer"])
        by_name = resolve_metric("numeric_match", ["answer"], ["answer"])
        assert by_function.identity == by_name.identity
        assert resolve_metric(by_name, ["other"], []) is by_name

    def test_a_list_of_right_answers(self) -> None:
        metric = resolve_metric("exact_match", ["answer"], ["answer"])
        example = dspy.Example(answer=["Holland", "The Netherlands"])
        assert metric(example, {"answer": "the netherlands"}).value == 1.0
        assert metric(example, {"answer": "Belgium"}).value == 0.0
        assert metric(example, {"answer": ["Holland", "The Netherlands"]}).value == 1.0

    def test_identities_tell_apart_what_scores_differently(self) -> None:
        metrics: list[Any] = [
            *METRICS,
            numeric_match(tolerance=0.1),
            exact_match(["answer", "unit"]),
        ]
        identities = {
            resolve_metric(m, ["answer", "unit"], ["answer"]).identity for m in metrics[:-1]
        }
        both = resolve_metric(metrics[-1], ["answer", "unit"], ["answer", "unit"])
        assert len(identities | {both.identity}) == len(metrics)

    @pytest.mark.parametrize(
        ("metric", "message"),
        [
            (exact_match("answer", "gold"), "the column 'gold'.*columns: question, answers, label"),
            (
                "f1",
                r"outputs \(answer\) and .*columns \(question, answers, label\) share none; "
                r"nearest: output 'answer' and column 'answers', which f1\(field='answer', ",
            ),
        ],
    )
    def test_errors_name_what_there_is(self, metric: Any, message: str) -> None:
        with pytest.raises(MetricError, match=message):
            resolve_metric(metric, ["answer"], ["question", "answers", "label"])

    @pytest.mark.parametrize(
        ("columns", "label"),
        [
            (["table", "question", "label"], "label"),
            (["question", "rationale", "answerer_id", "gold"], "gold"),
            (["question", "Expected-Output", "answerer"], "Expected-Output"),
            (["question", "labels", "answers"], "answers"),
            (["question", "answr", "notes"], "answr"),
        ],
    )
    def test_a_column_that_is_called_as_labels_are_is_nearest(
        self, columns: list[str], label: str
    ) -> None:
        with pytest.raises(MetricError, match=rf"output 'answer' and column '{label}', which"):
            resolve_metric("exact_match", ["answer"], columns)

    def test_bad_arguments_of_constructors(self) -> None:
        with pytest.raises(MetricError, match="one column for each field"):
            exact_match(column="gold")
        with pytest.raises(MetricError, match="`0 <= tolerance < 1` must hold, but got -1"):
            numeric_match(tolerance=-1)

    def test_labels_are_checked_before_any_call(self) -> None:
        metric = resolve_metric("numeric_match", ["answer"], ["answer"])
        metric.check([EXAMPLE, dspy.Example(answer=["1", "2"])])
        for label, why in (
            ("two", "no number"),
            (["1", "two"], "'two' has no number"),
            ([], "empty"),
        ):
            with pytest.raises(MetricError, match=f"on example 1: column 'answer': .*{why}"):
                metric.check([EXAMPLE, dspy.Example(answer=label)])

    def test_an_unreadable_label_is_never_a_score(self) -> None:
        metric = resolve_metric("numeric_match", ["answer"], ["answer"])
        with pytest.raises(MetricError, match="raised ValueError: the label 'two' has no"):
            metric({"answer": "two"}, {"answer": "2"})

    def test_costs_microseconds(self) -> None:
        metric = resolve_metric("exact_match", ["answer"], ["answer"])
        prediction = predicted(answer=" The Answer. ")
        started = time.process_time()
        for _ in range(100_000):
            metric(EXAMPLE, prediction)
        assert (time.process_time() - started) / 100_000 < 50e-6  # 5 on an idle machine


def two(example: Any, prediction: Any) -> float:
    return float(example.answer == prediction.answer)


def exceeds(example: Any, prediction: Any, bound: float = 0) -> bool:
    return float(prediction.answer) > bound


def dspys(example: Any, prediction: Any, trace: Any = "left alone") -> bool:
    return bool(trace == "left alone" and example.answer == prediction.answer)


def gepas(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> dspy.Prediction:
    assert (trace, pred_name, pred_trace) == (None, None, None)
    return dspy.Prediction(score=float(gold.answer == pred.answer), feedback=f"is {gold.answer}")


class Within:
    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def __call__(self, example: Any, prediction: Any) -> bool:
        return abs(float(example.answer) - float(prediction.answer)) <= self.tolerance


def within(tolerance: float) -> Callable[[Any, Any], bool]:
    return lambda e, p: abs(float(e.answer) - float(p.answer)) <= tolerance


def returning(value: Any) -> Callable[[Any, Any], Any]:
    return lambda example, prediction: value


class TestCallable:
    @pytest.mark.parametrize(
        "metric", [two, dspys, gepas, Within(0), within(0), Within(0).__call__]
    )
    def test_every_form_is_called(self, metric: Any) -> None:
        bound = resolve_metric(metric, ["other"], ["no", "labels"])
        assert bound.fields == ()
        assert bound(EXAMPLE, predicted(answer="2")).value == 1.0
        assert bound(EXAMPLE, predicted(answer="3")).value == 0.0
        bound.check([EXAMPLE])

    @pytest.mark.parametrize(
        ("returned", "score"),
        [
            (1, Score(1.0)),
            (True, Score(1.0)),
            (0.25, Score(0.25)),
            (np.float32(0.5), Score(0.5)),
            (np.bool_(True), Score(1.0)),
            (np.array(0.5), Score(0.5)),
            ({"score": 0.5, "feedback": "meh"}, Score(0.5, "meh")),
            (dspy.Prediction(score=1, feedback="good"), Score(1.0, "good")),
            (dspy.Prediction(score=0.5), Score(0.5)),
            (Score(0.5, "meh"), Score(0.5, "meh")),
        ],
    )
    def test_every_score_is_understood(self, returned: Any, score: Score) -> None:
        assert resolve_metric(returning(returned), [], [])(EXAMPLE, predicted()) == score

    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            (float("nan"), r"returned nan, but a score must lie in \[0, 1\]"),
            (2, r"returned 2.0, but a score must lie in \[0, 1\]"),
            (-0.1, "returned -0.1, but"),
            (None, "returned None, but a score is a number"),
            ("0.5", "returned '0.5', but a score is a number"),
            (np.array([0.5, 0.5]), "returned array.* but a score is a number"),
            ({"value": 1}, "returned {'value': 1}, but a score is a number"),
            (dspy.Prediction(answer=1), r"returned Prediction\([^)]*\), but a score is a number"),
            (Score(3.0), "returned 3.0, but"),
        ],
    )
    def test_what_is_no_score_is_an_error(self, returned: Any, message: str) -> None:
        bound = resolve_metric(returning(returned), [], [])
        with pytest.raises(MetricError, match=rf"metric '<lambda>' {message}"):
            bound(EXAMPLE, predicted())

    def test_what_it_raises_is_the_cause(self) -> None:
        with pytest.raises(MetricError, match="metric 'two' raised AttributeError: ") as caught:
            resolve_metric(two, [], [])(EXAMPLE, predicted())
        assert isinstance(caught.value.__cause__, AttributeError)

    def test_a_stop_passes_through(self) -> None:
        def stopping(example: Any, prediction: Any) -> float:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            resolve_metric(stopping, [], [])(EXAMPLE, predicted())

    def test_what_cannot_be_called_so_is_refused_at_the_door(self) -> None:
        async def later(example: Any, prediction: Any) -> float:
            return 1.0

        def keyworded(example: Any, prediction: Any, *, judge: str) -> float:
            return 1.0

        with pytest.raises(MetricError, match=r"'<lambda>\(prediction\)' must be callable as"):
            resolve_metric(lambda prediction: 1.0, [], [])
        with pytest.raises(MetricError, match=r"'keyworded.*' must be callable as"):
            resolve_metric(keyworded, [], [])
        with pytest.raises(MetricError, match="'later' is a coroutine function"):
            resolve_metric(later, [], [])

    def test_identity_is_stable_and_sees_source_and_captured_values(self) -> None:
        def identity(metric: Any) -> str:
            return resolve_metric(metric, [], []).identity

        assert identity(two) == identity(two)
        assert identity(within(1)) == identity(within(1)) != identity(within(2))
        assert identity(Within(1)) == identity(Within(1)) != identity(Within(2))
        assert identity(Within(1).__call__) != identity(Within(2).__call__)
        low, high = (functools.partial(exceeds, bound=bound) for bound in (1, 2))
        assert len({identity(low), identity(high), identity(exceeds)}) == 3
        assert "test_metric_resolver.two:" in identity(two)

    def test_metrics_of_dspy_work(self) -> None:
        bound = resolve_metric(dspy.evaluate.answer_exact_match, ["answer"], ["answer"])
        assert bound(EXAMPLE, predicted(answer="2")).value == 1.0
        assert f1().name == "f1"
