"""Configs scored on examples, over real HTTP: each once, concurrently, failures kept apart."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price, Script
from evaluators.dataset import Dataset
from evaluators.errors import MetricError
from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from evaluators.outcome import Evaluation, Outcome
from pipelines import Failure, Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig

PIPELINE = Pipeline("twice", [Module("double", "number -> doubled"),
                              Module("add", "doubled -> answer")])  # fmt: skip
ROWS = [{"number": str(n), "answer": str(2 * n + 1), "note": "odd"} for n in range(12)]
PRICE = Price(1.0, 2.0)
MakeEvaluator = Callable[..., Evaluator]


def reckon(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """`good` is always right; `bad` adds two instead of one."""
    asked = messages[-1]["content"].rpartition("Respond with")[0]
    number = int(asked.split("]]\n", 1)[1].split()[0])
    field, value = ("doubled", 2 * number)
    if "[[ ## doubled ## ]]" in asked:
        field, value = ("answer", number + (1 if params["model"] == "good" else 2))
    return f"[[ ## {field} ## ]]\n{value}\n\n[[ ## completed ## ]]"


@pytest.fixture
def evaluator() -> Iterator[MakeEvaluator]:
    """`evaluator(script, **settings)`, with its server as `.server`."""
    started: list[Any] = []

    def make(
        script: Script | None = None,
        *,
        budget: Budget | None = None,
        metric: Any = "exact_match",
        concurrency: int = 4,
        pipeline: Pipeline = PIPELINE,
    ) -> Evaluator:
        server = LoopbackServer(script, reply=reckon, prices={"good": PRICE, "bad": PRICE})
        server.__enter__()
        gateway = Gateway(None, retries=1, backoff_s=0.001)
        started.extend([gateway, server])
        models = {
            label: Model(f"openai/{label}", label, server.url, input_usd_per_million=1,
                         output_usd_per_million=2, max_tokens=64)
            for label in ("good", "bad")
        }  # fmt: skip
        data = Dataset.load(ROWS)
        bound = resolve_metric(metric, pipeline.outputs, data.columns)
        session = gateway.session("study", budget)
        made = Evaluator(pipeline, models, data, bound, session, concurrency)
        made.server = server  # type: ignore[attr-defined]
        return made

    yield make
    for thing in started:
        thing.close()


def config(double: str = "good", add: str = "good") -> PipelineConfig:
    return PIPELINE.default_config("good").with_models({"double": double, "add": add})


def requests(evaluator: Evaluator) -> int:
    server: LoopbackServer = evaluator.server  # type: ignore[attr-defined]
    return server.requests


def test_scores_costs_and_calls_are_those_of_the_examples(evaluator: MakeEvaluator) -> None:
    made = evaluator()
    good, bad = made.evaluate(config(), range(12)), made.evaluate(config("bad", "bad"), range(6))
    assert (good.mean, bad.mean) == (1.0, 0.0)
    assert good.interval is not None
    assert good.interval.low < 1.0
    assert good.calls_per_example == 2
    assert math.isclose(12 * good.usd_per_example + 6 * bad.usd_per_example, made.server.usd)  # type: ignore[attr-defined]
    assert good.latency_s > 0
    assert requests(made) == 36
    assert not good.failures
    assert not good.disqualified


def test_an_example_is_run_once_and_modules_are_shared_between_configs(
    evaluator: MakeEvaluator,
) -> None:
    made = evaluator()
    made.evaluate(config(), [3, 1])
    again = made.evaluate(config(), [1, 2, 3])
    assert list(again.outcomes) == [1, 2, 3]
    assert requests(made) == 6
    made.evaluate(config(add="bad"), [1, 2])
    assert requests(made) == 8, "`double` had answered already"
    assert set(made.known(config(add="bad")).outcomes) == {1, 2}
    assert made.known(config("bad")).outcomes == {}


def test_known_is_a_copy(evaluator: MakeEvaluator) -> None:
    made = evaluator()
    known = made.evaluate(config(), [0])
    before = made.known(config())
    made.evaluate(config(), [1])
    assert set(known.outcomes) == set(before.outcomes) == {0}


def test_examples_run_side_by_side_up_to_the_concurrency(evaluator: MakeEvaluator) -> None:
    made = evaluator(Behaviour.slow(0.05), concurrency=3)
    made.evaluate(config(), range(9))
    assert made.server.meter.peak_in_flight == 3  # type: ignore[attr-defined]


def test_results_of_map_keep_their_order(evaluator: MakeEvaluator) -> None:
    def late(task: int) -> int:
        time.sleep(0.002 * (10 - task))
        return task * task

    assert evaluator().map(late, range(10)) == [task * task for task in range(10)]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_budget_that_ends_midway_keeps_what_was_paid(
    evaluator: MakeEvaluator, concurrency: int
) -> None:
    made = evaluator(budget=Budget(calls=10), concurrency=concurrency)
    first = made.evaluate(config(), [0, 1])
    with pytest.raises(BudgetExhausted, match="10 calls are spent of 10 calls"):
        made.evaluate(config(), range(12))
    kept = made.known(config()).outcomes
    assert first.outcomes.items() < kept.items()
    assert all(outcome.score == 1.0 for outcome in kept.values())
    assert requests(made) == 10
    assert len(made.history) == len(kept)


def test_an_outage_is_unscored_and_what_the_model_does_wrong_scores_nothing(
    evaluator: MakeEvaluator,
) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        asked = request.messages[-1]["content"]
        if "[[ ## number ## ]]\n3\n" in asked:
            return Behaviour.server_error()
        return Behaviour.empty_choices() if "[[ ## number ## ]]\n5\n" in asked else Behaviour()

    made = evaluator(script)
    evaluation = made.evaluate(config(), range(12))
    by_number = {made.inputs(i)["number"]: evaluation.outcomes[i] for i in range(12)}
    for number, kind in (("3", "server_error"), ("5", "malformed_response")):
        outcome = by_number[number]
        assert outcome.score is None
        assert outcome.failure is not None
        assert (outcome.failure.kind, outcome.failure.infrastructure) == (kind, True)
        assert outcome.failure.module == "double"
    assert evaluation.failures == {"malformed_response": 1, "server_error": 1}
    assert (evaluation.unscored, len(evaluation.scores), evaluation.mean) == (2, 10, 1.0)
    assert evaluation.disqualified, "2 of 12 are more than a tenth"


def test_an_outage_is_tried_again_only_by_other_configs(evaluator: MakeEvaluator) -> None:
    down = threading.Event()
    down.set()

    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error() if down.is_set() else Behaviour()

    made = evaluator(script)
    assert made.evaluate(config(), [0]).unscored == 1
    down.clear()
    assert made.evaluate(config(), [0]).unscored == 1
    assert made.evaluate(config(add="bad"), [0]).mean == 0.0


@pytest.mark.parametrize(
    ("body", "kind"),
    [("I'm sorry, but I can't help with that.", "refusal"), ("forty-two", "unparsable")],
)
def test_a_reply_that_cannot_be_used_scores_nothing(
    evaluator: MakeEvaluator, body: str, kind: str
) -> None:
    reply = (
        f'{{"id": "x", "object": "chat.completion", "created": 0, "model": "good", "choices": '
        f'[{{"index": 0, "message": {{"role": "assistant", "content": "{body}"}}, '
        f'"finish_reason": "stop"}}], "usage": {{"prompt_tokens": 9, "completion_tokens": 9, '
        f'"total_tokens": 18}}}}'
    )
    evaluation = evaluator(Behaviour(body=reply)).evaluate(config(), [0, 1])
    assert evaluation.failures == {kind: 2}
    assert evaluation.scores == {0: 0.0, 1: 0.0}
    assert evaluation.unscored == 0
    assert evaluation.calls_per_example == 2, "once in each form; the next module is not asked"
    assert evaluation.calls_per_first_call == 2
    assert evaluation.usd_per_example > 0


def test_functions_before_a_call_run_side_by_side_too(evaluator: MakeEvaluator) -> None:
    together = threading.Barrier(4, timeout=5)

    def look_up(number: str) -> str:
        together.wait()  # raises, unless four are here at once
        return number

    looked_up = Module("look_up", "number -> found", function=look_up)
    double = Module("double", "found -> doubled")
    pipeline = Pipeline("x", [looked_up, double, PIPELINE.module("add")])
    made = evaluator(pipeline=pipeline, concurrency=4)
    given = pipeline.default_config("good")
    assert made.evaluate(given, range(12)).failures == {}


def test_a_metric_is_given_the_example_and_its_feedback_is_kept(evaluator: MakeEvaluator) -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> dspy.Prediction:
        assert set(prediction.keys()) == {"answer"}
        right = prediction.answer == example.answer
        return dspy.Prediction(score=float(right), feedback=f"{example.note}: {right}")

    outcome = evaluator(metric=metric).evaluate(config(add="bad"), [0]).outcomes[0]
    assert (outcome.score, outcome.feedback) == (0.0, "odd: False")


def test_an_answer_is_scored_once_by_example(evaluator: MakeEvaluator) -> None:
    scored: Counter[tuple[str, str]] = Counter()

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        scored[example.number, prediction.answer] += 1
        return 1 / int(bool(example.number != "7"))

    made = evaluator(metric=metric)
    for models in (config(), config("bad")):  # both models give `double` the same
        assert made.evaluate(models, range(4)).mean == 1.0
        for index in range(4):
            made.peek(models.with_knobs("add", instructions="Add one."), index)
    assert len(scored) == scored.total() == 4
    seven = next(i for i in range(12) if made.inputs(i)["number"] == "7")
    for _ in range(2):
        with pytest.raises(MetricError, match="ZeroDivisionError"):
            made.evaluate(config(), [seven])
    assert requests(made) == 18, "the calls were made once"
    assert scored["7", "15"] > 1, "what raised is no score"


def test_a_metric_that_raises_is_shown_the_example_that_it_raised_on(
    evaluator: MakeEvaluator,
) -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        return {"1": 1.0}[example.number] if example.number == "7" else 1.0

    made = evaluator(metric=metric)
    with pytest.raises(MetricError) as raised:
        made.evaluate(config(), range(12))
    assert isinstance(raised.value.__cause__, KeyError)
    assert str(raised.value).startswith("metric 'metric' raised KeyError: '7'; the example: ")
    labels = "{'answer': '15', 'note': 'odd'}"
    shown = f"{{'number': '7'}} with the label {labels} and the answer {{'answer': '15'}}"
    assert str(raised.value).endswith(shown)
    assert all(outcome.score == 1.0 for outcome in made.known(config()).outcomes.values())


def test_a_task_that_raises_keeps_later_ones_from_being_begun(evaluator: MakeEvaluator) -> None:
    begun: list[int] = []

    def task(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        return 1 // (number - 2)

    with pytest.raises(ZeroDivisionError):
        evaluator(concurrency=2).map(task, range(50))
    assert len(begun) < 10


def test_labels_are_what_the_metric_compares_with(evaluator: MakeEvaluator) -> None:
    made = evaluator()
    index = 5
    assert made.labels(index) == {"answer": str(2 * int(made.inputs(index)["number"]) + 1)}
    whatever = evaluator(metric=lambda example, prediction: 1.0)
    assert set(whatever.labels(index)) == {"answer", "note"}


def outcome(score: float | None, usd: float = 0.0) -> Outcome:
    down = Failure("timeout", "solve", "slow", True) if score is None else None
    return Outcome(score, usd, 1, 1.0, down)


@given(st.integers(0, 40), st.integers(0, 40))
def test_more_than_a_tenth_unscored_disqualifies(scored: int, unscored: int) -> None:
    scores = [0.5] * scored + [None] * unscored
    evaluation = Evaluation({i: outcome(score) for i, score in enumerate(scores)})
    assert evaluation.disqualified is (10 * unscored > scored + unscored)
    assert evaluation.unscored == unscored
    assert evaluation.failures == ({"timeout": unscored} if unscored else {})


@given(st.lists(st.integers(0, 30), min_size=1, max_size=130), st.integers(0, 30))
def test_a_tail_meets_a_limit_where_at_most_a_twentieth_is_above_it(
    seconds: list[int], limit: int
) -> None:
    timed = Evaluation({i: Outcome(1.0, 0, 1, s, None) for i, s in enumerate(seconds)})
    slow = sum(s > limit for s in seconds)
    assert (timed.latency_p95_s <= limit) is (20 * slow <= len(seconds))
    assert timed.latency_p95_s in seconds
    assert timed.costs.latency_p95_s == timed.latency_p95_s
    if len(seconds) < 20:
        assert timed.latency_p95_s == max(seconds)


def test_an_evaluation_of_nothing_has_no_mean() -> None:
    empty = Evaluation({})
    assert math.isnan(empty.mean)
    assert math.isnan(empty.usd_per_example)
    assert math.isnan(empty.latency_p95_s)
    assert empty.interval is None
    assert not empty.disqualified
    unscored = Evaluation({0: outcome(None)})
    assert math.isnan(unscored.mean)
    assert unscored.interval is None


def test_a_peek_is_paid_for_once_but_counts_for_no_comparison(evaluator: MakeEvaluator) -> None:
    made = evaluator()
    made.evaluate(config(), range(2))
    assert all(made.peek(config(), index).score == 1.0 for index in range(1, 4))
    assert list(made.known(config()).outcomes) == [0, 1]
    paid = requests(made)
    made.evaluate(config(), range(4))
    assert requests(made) == paid
