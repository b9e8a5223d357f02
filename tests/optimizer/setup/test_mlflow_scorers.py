"""Scorers of `mlflow.genai` as metrics, on its rows, and the tuned pipeline in its evaluation."""

from __future__ import annotations

from typing import Any

import dspy
import mlflow
import pytest
from mlflow.entities import AssessmentError, Feedback
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import (
    Correctness,
    Guidelines,
    RegexMatch,
    Scorer,
    make_scorer_ensemble,
    scorer,
)

from evaluators.errors import MetricError
from evaluators.metrics import BoundMetric, Score
from optimizer.setup.mlflow_scorers import bind_scorer, is_scorer
from pipelines import Pipeline
from pipelines.adapters.callables import from_callable
from pipelines.patterns import locate_solve
from tests.optimizer.runs import MODELS, ROWS, tune
from tests.pipelines.adapters.callables.agents import by_gateway, locating

NESTED = [
    {
        "inputs": {"table": row["table"], "question": row["question"]},
        "expectations": {"expected_response": row["answer"]},
    }
    for row in ROWS
]
MLFLOWS_OWN = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
EXAMPLE = dspy.Example(table="t", question="q", expected_response="12", unit="m")


@scorer
def matches(outputs: Any, expectations: Any) -> Any:
    return outputs == expectations["expected_response"]


def bound(given: Any, pipeline: Any = None) -> BoundMetric:
    assert is_scorer(given)
    return bind_scorer(given, pipeline or locate_solve())


def scored(value: Any) -> Score:
    @scorer
    def says() -> Any:
        return value

    return bound(says)(EXAMPLE, dspy.Prediction(answer="12"))


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (True, Score(1.0)),
        (0.25, Score(0.25)),
        ("yes", Score(1.0)),
        ("No", Score(0.0)),
        (Feedback(value=True, rationale="all there"), Score(1.0, "all there")),
        (Feedback(value="no"), Score(0.0)),
        (
            [Feedback(value=1, rationale="short"), Feedback(value=0.5, rationale="dull")],
            Score(0.75, "short; dull"),
        ),
    ],
)
def test_whatever_a_scorer_returns_is_a_score(value: Any, score: Score) -> None:
    assert scored(value) == score


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "it returned None, but a score is a number in [0, 1]"),
        ("good", "it returned 'good', but"),
        (7, "it returned 7, but"),
        (Feedback(name="tone", value={"a": 1}), "its feedback 'tone' has the value {'a': 1}, but"),
        (
            Feedback(name="tone", error=AssessmentError("E1", "no network")),
            "its feedback 'tone' is an error",
        ),
    ],
)
def test_what_is_no_score_is_an_error_of_the_scorer(value: Any, problem: str) -> None:
    with pytest.raises(MetricError) as raised:
        scored(value)
    assert str(raised.value).startswith("metric 'says' raised ValueError: ")
    assert problem in str(raised.value)


def test_a_scorer_gets_inputs_outputs_and_expectations() -> None:
    seen: list[Any] = []

    @scorer
    def looks(inputs: Any, outputs: Any, expectations: Any) -> bool:
        seen.append((inputs, outputs, expectations))
        return True

    bound(looks)(EXAMPLE, dspy.Prediction(answer="12", reasoning="..."))
    bound(looks)(EXAMPLE, dspy.Prediction(answer="12", unit="m"))
    inputs, expectations = {"table": "t", "question": "q"}, {"expected_response": "12", "unit": "m"}
    assert seen == [
        (inputs, "12", expectations),
        (inputs, {"answer": "12", "unit": "m"}, expectations),
    ]


def test_rules_of_mlflows_and_classes_and_ensembles_score() -> None:
    class Short(Scorer):
        name: str = "short"
        most: int = 1

        def __call__(self, *, outputs: Any) -> bool:  # type: ignore[override]
            return len(outputs) <= self.most

    number = RegexMatch(pattern=r"^\d+$")
    both = make_scorer_ensemble(name="both", scorers=[number, Short()], ensemble_fn="agg_all")
    answers = ["1", "12", "one"]
    values = {
        each.name: [bound(each)(EXAMPLE, {"answer": answer}).value for answer in answers]
        for each in (number, Short(), both)
    }
    assert values == {"regex_match": [1, 1, 0], "short": [1, 0, 0], "both": [1, 0, 0]}


def test_another_scorer_has_another_identity() -> None:
    def made(most: int) -> Any:
        @scorer(name="short")
        def short(outputs: Any) -> bool:
            return len(outputs) <= most

        return short

    assert bound(made(3)).identity == bound(made(3)).identity != bound(made(4)).identity
    patterns = [bound(RegexMatch(pattern=pattern)).identity for pattern in ("a", "a", "b")]
    assert patterns[0] == patterns[1] != patterns[2]


@pytest.mark.parametrize(
    "judge",
    [
        Correctness(model="openai:/gpt-4o"),
        Guidelines(guidelines="Be polite."),
        make_judge(name="polite", instructions="Is {{ outputs }} polite?", model="openai:/gpt-4o"),
        make_scorer_ensemble(
            name="both",
            scorers=[matches, Correctness(model="openai:/gpt-4o")],
            ensemble_fn="agg_all",
        ),
    ],
)
def test_a_scorer_that_asks_a_model_past_the_gateway_is_refused(judge: Any) -> None:
    with pytest.raises(MetricError, match=r"asks a model by itself.*Use llm_judge\("):
        tune(NESTED, metric=judge)


def test_a_scorer_of_traces_or_sessions_is_refused() -> None:
    @scorer
    def steps(trace: Any) -> bool:
        return bool(trace)

    @scorer
    def talk(session: Any) -> bool:
        return bool(session)

    with pytest.raises(MetricError, match=r"scorer 'steps' reads the trace, which there is not"):
        tune(NESTED, metric=steps)
    with pytest.raises(MetricError, match=r"scorer 'talk' reads a session"):
        tune(NESTED, metric=talk)


def test_a_search_by_a_scorer_is_that_by_the_same_function() -> None:
    by_scorer = tune(NESTED, metric=matches)
    plain = tune(ROWS, metric=lambda example, said: float(said.answer == example.answer))
    assert by_scorer.config == plain.config
    assert by_scorer.score == plain.score
    assert by_scorer.score.mean > by_scorer.baseline.mean


def test_a_broken_scorer_is_named_with_the_example() -> None:
    @scorer
    def broken(outputs: Any, expectations: Any) -> bool:
        return bool(outputs == expectations["gold"])

    with pytest.raises(MetricError) as raised:
        tune(NESTED, metric=broken)
    message = str(raised.value)
    assert message.startswith("metric 'broken' raised KeyError: 'gold'; the example: {")
    assert "'expected_response': " in message


def build(models: Any) -> Any:
    """A `predict_fn` of MLflow's, its models' names replaced by the handles."""
    predict_fn = locating(by_gateway)(models)

    def predict(table: str, question: str) -> str:
        answer: str = predict_fn(table=table, question=question)["answer"]
        return answer

    return predict


@MLFLOWS_OWN
def test_a_predict_fn_is_tuned_on_mlflows_rows_and_evaluated_by_mlflow(default_store: str) -> None:
    pipeline = from_callable(build, ["locate", "solve"], outputs=["response"], name="agent")
    by_label = tune(NESTED, pipeline=pipeline)
    result = tune(NESTED, pipeline=pipeline, metric=matches)
    assert result.config == by_label.config
    assert result.config.allocation == {"locate": ("sim/alder",), "solve": ("sim/birch",)}

    @scorer
    def right(outputs: Any, expectations: Any) -> bool:
        return bool(outputs["response"] == expectations["expected_response"])

    mlflow.set_tracking_uri(default_store)
    held_out = [NESTED[example.row] for example in result.examples_]
    evaluated = mlflow.genai.evaluate(data=held_out, predict_fn=result.pipeline, scorers=[right])
    assert evaluated.metrics["right/mean"] == result.score.mean


@MLFLOWS_OWN
def test_mlflow_evaluates_a_tuned_pipeline(default_store: str) -> None:
    result = tune(NESTED, MODELS, metric="exact_match")
    assert isinstance(result.pipeline, Pipeline)
    mlflow.set_tracking_uri(default_store)
    held_out = [NESTED[example.row] for example in result.examples_]

    @scorer
    def right(outputs: Any, expectations: Any) -> bool:
        return bool(outputs["answer"] == expectations["expected_response"])

    evaluated = mlflow.genai.evaluate(data=held_out, predict_fn=result.pipeline, scorers=[right])
    assert evaluated.metrics["right/mean"] == result.score.mean
