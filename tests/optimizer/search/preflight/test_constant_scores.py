"""A search whose scores are all equal ends at once, and shows an example with its answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dspy
import pytest

from benchmarks.loopback import LoopbackServer, Price
from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from evaluators.objective import Objective
from optimizer.errors import OptimizationError
from optimizer.results.result import Result
from optimizer.search.preflight.constant_scores import FEWEST, GLANCE
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.model import Model
from search_spaces import SearchSpace
from tests.optimizer.runs import HELD_OUT, MODELS, ROWS, counting_server, served_models, tune
from tests.optimizer.searches import CHECKER, SOLVE, tailored

LOST = "sim/constant-lost"
"""Right in none of these questions."""
SUMS = simulated_dataset("arithmetic", 30, 1)


@pytest.fixture(autouse=True)
def _models() -> None:
    tailored()
    lost = SimulatedModel("constant-lost", {"arithmetic": 0.0}, refusal_rate=0.0)
    register(lost)


def same(score: Any) -> Any:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> Any:
        return score

    return metric


def text(*args: Any, **arguments: Any) -> str:
    with pytest.raises(OptimizationError) as raised:
        tune(*args, **arguments)
    return str(raised.value)


def test_a_metric_that_is_always_0_is_named_with_an_example_and_its_answer() -> None:
    message = text(ROWS, metric=lambda example, prediction: example == prediction)
    assert message.startswith(
        "metric '<lambda>' scores 0 on all 14 search examples with the pipeline as given, and on "
        "some of them with 6 other choices of models: there is nothing to choose by. An example: "
    )
    shown = message.partition("An example: ")[2]
    (row,) = (row for row in ROWS if row["question"] in shown)
    assert f"with the label {{'answer': '{row['answer']}'}} and the answer {{'answer': " in shown
    assert "compares the label with what the pipeline writes (answer)" in shown
    assert "exact_match" not in shown


def test_it_costs_the_baseline_and_a_look_at_the_other_models() -> None:
    with counting_server() as server:
        text(ROWS, served_models(server), metric=same(0))
        baseline, singles, mixes = len(ROWS) - HELD_OUT, 2 * (len(ROWS) - HELD_OUT), 4 * GLANCE
        assert server.requests <= 2 * (baseline + singles + mixes), "nobody asks a diagnoser"


def test_a_look_that_can_not_be_paid_is_not_made_of_what_is_cached(tmp_path: Path) -> None:
    def tuned(calls: int) -> Result:
        budget = Budget(calls=calls)
        return tune(
            SUMS[:8], [LOST, CHECKER], pipeline=SOLVE, holdout=0, budget=budget, cache=tmp_path
        )

    assert len(tuned(400).trials_) > 1
    poor = tuned(8)
    assert (poor.spent.calls, len(poor.trials_)) == (8, 1)


def test_failures_do_not_hide_that_all_answers_score_the_same() -> None:
    shy = "sim/constant-shy"
    register(SimulatedModel("constant-shy", {"arithmetic": 0.5}, refusal_rate=0.3))
    message = text(SUMS, [shy], pipeline=SOLVE, metric=same(0.5))
    assert re.search(r"scores 0\.5 on all 1\d search examples answered with the pipel", message)
    result = tune(SUMS, [shy], pipeline=SOLVE, metric=same(1))
    assert result.stopped is None, "an answer to what was refused would be a gain"


def test_labels_that_no_answer_can_match_are_shown() -> None:
    rows = [{**row, "answer": f"about {row['answer']}"} for row in SUMS]
    message = text(rows, [CHECKER, LOST], pipeline=SOLVE)
    assert message.startswith(
        "metric 'exact_match' scores 0 on all 21 search examples with the pipeline as given, and "
        "on some of them with 1 other choice of models: "
    )
    assert "with the label {'answer': 'about " in message
    assert "contains and numeric_match accept more" in message


def test_a_weak_baseline_may_score_0_on_everything() -> None:
    result = tune(SUMS, [LOST, CHECKER], pipeline=SOLVE)
    assert result.trials_[0].score is not None
    assert result.trials_[0].score.mean == 0
    assert result.config.allocation == {"solve": (CHECKER,)}
    assert result.stopped is None


def test_every_single_model_may_score_0_where_a_mix_is_right() -> None:
    """Each model can do one module only."""

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> bool:
        return bool(prediction.answer == "solved by b of located by a")

    def reply(messages: Any, params: Any) -> str:
        asked = messages[-1]["content"]
        located = re.search(r"\[\[ ## task ## \]\]\n(.*)", asked)
        by = params["model"]
        field, value = (
            ("answer", f"solved by {by} of {located[1]}")
            if located
            else ("task", f"located by {by}")
        )
        return f"[[ ## {field} ## ]]\n{value}\n\n[[ ## completed ## ]]"

    with LoopbackServer(reply=reply, prices={"a": Price(1, 1), "b": Price(1, 1)}) as server:
        models = [
            Model(f"openai/{n}", n, server.url, input_usd_per_million=1, output_usd_per_million=1)
            for n in "ab"
        ]
        result = tune(ROWS, models, metric=metric)
    assert result.config.allocation == {"locate": ("a",), "solve": ("b",)}


def tune_marks(*marks: str) -> Result:
    """Answers in km, and a function that ends them with one of these."""
    rows = [{**row, "answer": f"{row['answer']} km"} for row in SUMS]
    pipeline = Pipeline(
        "p",
        [Module("solve", "question -> said"), Module("end", "said -> answer", function=ended)],
    )
    space = SearchSpace(params={"end": {"mark": marks}}, width=(1,), temperature=())
    tuning: Any = {"pipeline": pipeline, "search_space": space, "stages": "structure"}
    return tune(rows, [CHECKER], **tuning)


def test_what_is_listed_beside_models_may_be_what_is_missing() -> None:
    result = tune_marks(" m", " km")
    assert result.baseline.mean == 0
    assert result.config.modules["end"].params == {"mark": " km"}


def test_a_search_of_what_is_listed_in_which_all_scores_are_0_says_so() -> None:
    result = tune_marks(" m", " cm")
    assert result.score.mean == 0
    assert result.config == result.baseline_config
    assert result.stopped is not None
    assert "scores 0 on every example with 3 configs, so there was nothing" in result.stopped
    assert "nothing to choose by" in " ".join(str(result).split())


def ended(said: str, mark: str = "") -> str:
    return said + mark


@pytest.mark.parametrize("score", [True, 1])
def test_where_all_is_right_already_the_pipeline_stays_as_given(score: Any) -> None:
    result = tune(metric=same(score))
    assert result.stopped is not None
    assert result.stopped.startswith(
        f"metric 'metric' scores 1 on all {len(ROWS) - HELD_OUT} search examples, so no quality "
    )
    assert "An example: {'question': " in result.stopped
    assert result.config == result.baseline_config
    assert len(result.trials_) == 1
    assert result.spent.calls == 2 * len(ROWS), "the baseline on every example, once"
    assert result.held_out


@pytest.mark.parametrize(
    "objective", [Objective(within=0.01), Objective(max_cost_usd=0.0005)], ids=str
)
def test_an_objective_that_wants_less_cost_goes_on_where_all_is_right(objective: Any) -> None:
    result: Result = tune(metric=same(1.0), objective=objective)
    assert result.stopped is None
    assert len(result.trials_) > 1
    assert result.baseline_figures.usd_per_example > 0.0005
    assert result.tuned_figures.usd_per_example < 0.0005


def test_a_front_goes_on_where_all_is_right_and_shows_what_costs_less() -> None:
    result: Result = tune(metric=same(1.0), objective="pareto")
    assert result.stopped is None
    cheapest = min(point.usd_per_example for point in result.points)
    assert cheapest < result.baseline_figures.usd_per_example / 10


def test_within_the_limits_the_given_pipeline_stays_where_nothing_is_better() -> None:
    result: Result = tune(metric=same(1.0), objective=Objective(max_cost_usd=1.0))
    assert result.stopped is None
    assert result.config == result.baseline_config


@pytest.mark.parametrize("score", [0, 0.5])
def test_on_few_examples_scores_may_be_equal_by_chance(score: float) -> None:
    few = tune(ROWS[: FEWEST - 1], MODELS[:1], metric=same(score), holdout=0)
    assert few.score.mean == score
    assert few.stopped is not None
    assert few.stopped.startswith(
        f"metric 'metric' scores {score:g} on every example with 1 config, so there was nothing "
    )
    message = text(ROWS[:FEWEST], MODELS[:1], metric=same(score), holdout=0)
    assert message.startswith(
        f"metric 'metric' scores {score:g} on all 8 search examples with the pipeline as given: "
    ), "there are no other models"


def test_one_example_that_is_right_leaves_nothing_to_gain() -> None:
    result = tune(ROWS[:1], metric=same(1), holdout=0)
    assert result.stopped is not None
    assert "scores 1 on the only search example, so no gain can be measured" in result.stopped


def test_ratings_are_compared_with_no_scores_that_are_all_equal() -> None:
    result = tune(ROWS[:5], metric=same(0), holdout=0)
    assert any(entry.judged for entry in result.diagnoser)
    assert {(entry.agreement, entry.compared) for entry in result.diagnoser} == {(None, 0)}


RIDDLES = [{"riddle": f"riddle {n}", "answer": "an echo"} for n in range(12)]
RIDDLE = Pipeline("riddles", [Module("solve", "riddle -> answer")])


def test_simulated_models_alone_are_named_as_what_can_not_do_the_task() -> None:
    limits = ". Note: simulated models only solve the tasks of simulated_dataset(...)"
    assert text(RIDDLES, pipeline=RIDDLE).endswith(limits)
    unread = Pipeline("riddles", [Module("solve", "riddle -> answer: Optional[int]")])
    failed = text(RIDDLES, pipeline=unread)
    assert "fails on every example tried" in failed
    assert failed.endswith(limits)


def test_models_behind_a_server_have_no_such_limits() -> None:
    with counting_server() as server:
        assert "simulated" not in text(RIDDLES, served_models(server), pipeline=RIDDLE)
