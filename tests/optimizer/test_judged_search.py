"""A search by a judge's word: what it finds, what it pays, and what is made of human labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest
from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from evaluators.errors import DatasetError, MetricError
from evaluators.metrics import llm_judge, llm_preference
from evaluators.metrics.human_labels import JudgeAgreement
from evaluators.outcome import Evaluation, Outcome
from evaluators.statistics import Calibration
from optimizer.errors import BudgetTooSmall, OptimizationError
from optimizer.loop import begin, start_search
from optimizer.results.result import Result
from optimizer.results.summary_text import summary_text
from optimizer.search.holdout import FinalScores
from optimizer.search.preflight.measured_judge import measure_judge
from optimizer.setup.plan import prepare
from optimizer.stages.resolver import resolve_stages
from optimizer.tracking.outputs import final_figures
from optimizer.tracking.tracker import described
from pipelines import Failure
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from pipelines.patterns import locate_solve
from tests.optimizer.runs import (
    HELD_OUT,
    MODELS,
    ROWS,
    counting_server,
    outcome,
    served_models,
    tune,
)

ARBITER = Model("sim/judged-search-arbiter", "arbiter", max_tokens=300)
"""It can do both steps, and says so of those who can."""
RUBRIC = "The answer is the right number."
BEST = {"locate": ("sim/alder",), "solve": ("sim/birch",)}
UNLABELLED = [{"table": row["table"], "question": row["question"]} for row in ROWS]


def labelled(right: bool, wrong: bool) -> list[dict[str, Any]]:
    """Twelve right and twelve wrong answers, and what people say of each."""
    rows = simulated_dataset("locate_solve", 24, seed=9, rows=4)
    answers = [
        row["answer"] if n % 2 else f"{int(row['answer']) + 1}" for n, row in enumerate(rows)
    ]
    return [
        {**row, "answer": answers[n], "human": right if n % 2 else wrong}
        for n, row in enumerate(rows)
    ]


@pytest.fixture(autouse=True, scope="module")
def _arbiter() -> None:
    skills = {"locate": 0.99, "arithmetic": 0.98, "verify": 0.95, "judge": 0.95}
    register(SimulatedModel("judged-search-arbiter", skills, malformed_rate=0.02))


def judged(**arguments: Any) -> Result:
    metric = llm_judge(RUBRIC, model=ARBITER, labels=labelled(True, False))
    return tune(UNLABELLED, metric=metric, **arguments)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judged") / "replies"


@pytest.fixture(scope="module")
def result(cache: Path, _arbiter: None) -> Result:
    return judged(cache=cache)


def test_the_better_mix_is_found_without_a_single_label(result: Result) -> None:
    assert result.config.allocation == BEST
    assert set(result.spent.by_purpose) == {"task", "diagnoser", "judge"}
    assert result.spent.by_purpose["judge"].calls > 24


def test_reported_scores_are_corrected_and_trials_are_not(result: Result) -> None:
    judge = result.judge
    assert judge is not None
    assert judge.calibration is not None
    assert (judge.model, judge.labels) == ("arbiter", 24)
    assert judge.agreement is not None
    assert judge.agreement > 0.9
    assert judge.slope is not None
    assert 0.4 < judge.slope < 0.9, "it is never quite sure"
    last = max(t.score.mean for t in result.trials_ if t.config == result.config and t.score)
    assert last < 0.95 < result.score.mean, "all answers are right, and that is what is said"
    assert result.gain.mean == pytest.approx(result.score.mean - result.baseline.mean, abs=0.05)


def test_the_same_again_pays_nothing_and_ends_the_same(result: Result, cache: Path) -> None:
    again = judged(cache=cache, concurrency=1)
    assert result.spent.paid_now_calls > 0
    assert (again.spent.paid_now_calls, again.spent.paid_now_usd) == (0, 0.0)
    assert outcome(again) == outcome(result)
    assert again.judge == result.judge


def test_it_is_reported_how_far_the_judge_agrees(result: Result) -> None:
    text = " ".join(summary_text(result).split())
    assert "held out from the search, corrected for the judge's errors" in text
    assert f"arbiter: agreed with {100 * result.judge.agreement:.1f}% of 24 human labels" in text  # type: ignore[union-attr, operator]
    assert "x people's score" in text
    figures = final_figures(result).metrics
    assert figures["judge/labels"] == 24
    assert figures["judge/slope"] == result.judge.slope  # type: ignore[union-attr]
    result.report("report.html")
    assert "24 human labels" in Path("report.html").read_text(encoding="utf-8")
    result.save("tuned.yaml")
    assert "human_labels: 24" in Path("tuned.yaml").read_text(encoding="utf-8")


def test_without_labels_the_agreement_is_called_unknown_and_nothing_is_corrected(
    cache: Path,
) -> None:
    metric = llm_judge(RUBRIC, model=ARBITER)
    result = tune(UNLABELLED, MODELS[1:2], metric=metric, cache=cache, stages="allocation")
    text = " ".join(summary_text(result).split())
    assert "agreement with people unknown; llm_judge(labels=...) measures it" in text
    assert "corrected" not in text
    assert result.judge is not None
    assert result.judge.labels == 0
    assert set(final_figures(result).metrics) & {"judge/labels", "judge/slope"} == {"judge/labels"}


def test_preferences_find_the_better_mix() -> None:
    """The references are wrong, so that right answers win."""
    rows = [{**row, "answer": str(int(row["answer"]) + 1)} for row in ROWS]
    result = tune(rows, MODELS[:2], metric=llm_preference("answer", model=ARBITER))
    assert result.config.allocation == BEST
    assert result.score.mean > 0.8
    assert result.judge == JudgeAgreement("arbiter")


def test_who_is_not_named_is_the_dearest() -> None:
    assert plan_of(llm_judge(RUBRIC)).metric.judging.model.label == "sim/alder"


def test_a_judge_that_answers_too_is_reported(result: Result) -> None:
    message = "it is among the models that answer, and judges favour answers of their own"
    assert message not in summary_text(result)
    assert message in summary_text(replace(result, judge=JudgeAgreement("sim/alder")))


LEAN = [Model(name, max_tokens=100) for name in MODELS]


@pytest.mark.parametrize("budget", [Budget(calls=120), Budget(calls=160), Budget(usd=0.07)])
def test_the_caps_hold_and_the_holdout_is_judged_whatever_they_are(budget: Budget) -> None:
    result = judged(models=LEAN, budget=budget)
    assert result.held_out
    assert result.tuned_figures.examples == HELD_OUT
    assert result.stopped is not None
    assert result.spent.paid_now_calls <= (budget.calls or 10**9)
    assert result.spent.paid_now_usd <= (budget.usd or 10**9)


@pytest.mark.parametrize(
    ("usd", "message"),
    [
        (0.006, "the budget can't pay for arbiter judging 24 human labels: a call to arbiter may"),
        (0.04, "run the pipeline 26 times and judge its answers, which takes about"),
    ],
)
def test_a_budget_too_small_for_the_judge_is_refused(usd: float, message: str) -> None:
    with pytest.raises(BudgetTooSmall, match=message):
        judged(models=LEAN, budget=Budget(usd=usd))


def test_where_the_pipeline_failed_no_judge_is_corrected() -> None:
    """Half of the answers are fully right, the others are none: 50%, whatever the judge's scale."""
    human = np.resize([0.0, 1.0], 400)
    calibration = Calibration.fit(0.25 + 0.5 * human, human)
    refused = Failure("refusal", "solve", "I can't help", infrastructure=False)
    half = {i: Outcome(0.75, 0.1, 1, 1.0, None) for i in range(20)}
    none = {i: Outcome(0.0, 0.1, 1, 1.0, refused) for i in range(20, 40)}
    tuned, baseline = (
        Evaluation({**half, **none}),
        Evaluation({**none, **dict.fromkeys(half, none[20])}),
    )
    final = FinalScores(tuned, baseline, None, True, calibration=calibration)
    message = final.mean(tuned), final.mean(baseline), final.gain(baseline)
    assert [round(interval.mean, 6) for interval in message if interval] == [0.5, 0.0, 0.5]


def test_calls_of_the_judge_are_counted_at_the_door() -> None:
    with pytest.raises(BudgetTooSmall, match=r"take 102 calls \(2 each and 1 of the judge, which"):
        judged(budget=Budget(calls=101))


def plan_of(metric: Any) -> Any:
    return prepare(
        locate_solve(), UNLABELLED, MODELS, metric=metric, stages=resolve_stages("allocation")
    )


def test_what_the_judge_is_asked_is_among_the_runs_files() -> None:
    _, _, files = described([plan_of(llm_judge(RUBRIC, model=ARBITER))])
    assert RUBRIC in files["judge.txt"]
    assert "judge.txt" not in described([plan_of(lambda *_: 1.0)])[2]


def test_a_judge_of_another_mind_than_people_ends_the_run_before_anything_else_is_paid() -> None:
    plan = plan_of(llm_judge(RUBRIC, model=ARBITER, labels=labelled(right=False, wrong=True)))
    state = start_search(plan, Gateway(None).session("study", None), 8)
    with pytest.raises(OptimizationError) as raised:
        begin(state)
    message = str(raised.value)
    assert message.startswith(
        "the judge arbiter is not shown to score higher what people score higher"
    )
    assert "% of 24 human labels (kappa -0." in message
    assert message.endswith("so it falls: are the labels the other way round?")
    assert set(state.evaluator.session.nominal.by_purpose) == {"judge"}


@pytest.mark.parametrize(("bad", "failed"), [(2, "2 of 20"), (3, "3 of 20")])
def test_a_judge_that_fails_on_labels_ends_the_run(bad: int, failed: str) -> None:
    """Two are few enough, but all that are bad; three are too many."""

    def script(request: LoopbackRequest) -> Behaviour:
        odd = '{"answer":"bad' in request.messages[-1]["content"]
        return Behaviour.server_error() if odd else Behaviour()

    rows = labelled(True, False)[:20]
    answers = [(f"bad {n}", False) if n < bad else ("7", True) for n in range(20)]
    labels = [
        {**row, "answer": answer, "human": human}
        for row, (answer, human) in zip(rows, answers, strict=True)
    ]
    with counting_server(script) as server:
        judge = served_models(server)[0]
        plan = plan_of(llm_judge(RUBRIC, model=judge, labels=labels))
        gateway = Gateway(None, retries=0)
        with pytest.raises(OptimizationError, match=rf"failed on {failed} human labels; the first"):
            measure_judge(start_search(plan, gateway.session("study", None), 8))


def served(requests: Any, count: int = 1, **arguments: Any) -> Result:
    """A run on so many models, of which the first judges, at a server that treats requests so."""
    with counting_server(requests) as server:
        models = served_models(server)[:count]
        return tune(UNLABELLED, models, metric=llm_judge(RUBRIC, model=models[0]), **arguments)


def judging(request: LoopbackRequest) -> bool:
    return "[[ ## candidate ## ]]" in request.messages[-1]["content"]


def test_a_judge_that_is_down_leaves_examples_unscored_and_is_named() -> None:
    def down(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error() if judging(request) else Behaviour()

    with pytest.raises(OptimizationError) as raised:
        served(down)
    message = str(raised.value)
    assert "4 of 4 examples failed (judge_server_error x4); the first: judge: " in message


def test_a_judge_that_is_down_for_a_few_disqualifies_and_for_one_does_not() -> None:
    hit: dict[str, Mapping[str, Any]] = {}

    def down_for(most: int) -> Any:
        hit.clear()

        def script(request: LoopbackRequest) -> Behaviour:
            text = request.messages[-1]["content"].partition("[[ ## candidate")[0]
            if judging(request) and (text in hit or len(hit) < most):
                hit[text] = request.params
                return Behaviour.server_error()
            return Behaviour()

        return script

    result = served(down_for(1), concurrency=1)
    baseline = result.trials_[0]
    assert (baseline.status, baseline.unscored, baseline.examples) == ("complete", 1, 13)
    assert baseline.failures == {"judge_server_error": 1}
    with pytest.raises(OptimizationError, match=r"too many calls of every config fail.*judge: "):
        served(down_for(3), concurrency=1)


def test_its_reasons_reach_the_diagnoser() -> None:
    prompts: list[str] = []

    def record(request: LoopbackRequest) -> Behaviour:
        prompts.append(request.messages[-1]["content"])
        return Behaviour()

    served(record, count=2)
    diagnoses = [prompt for prompt in prompts if "[[ ## desired_final_answer ## ]]" in prompt]
    assert diagnoses
    assert all('{"feedback":"graded 0' in prompt for prompt in diagnoses)
    assert any("does not hold up" in prompt for prompt in diagnoses)


def test_what_does_not_fit_is_reported_at_the_door() -> None:
    with pytest.raises(DatasetError, match=r"needs a column 'anwser', .*; nearest: 'answer'"):
        tune(ROWS, metric=llm_judge(RUBRIC, reference="anwser"))
    with pytest.raises(MetricError, match="at least 20 human labels are needed"):
        tune(UNLABELLED, metric=llm_judge(RUBRIC, labels=labelled(True, False)[:19]))
    with pytest.raises(ModelError, match=r"sim/eln.*elm"):
        tune(UNLABELLED, metric=llm_judge(RUBRIC, model="sim/eln"))
    with pytest.raises(ModelError, match="no price is known for model 'openai/unheard-of'"):
        tune(UNLABELLED, metric=llm_judge(RUBRIC, model="openai/unheard-of"))
    with pytest.raises(MetricError, match="needs a description of a good answer"):
        tune(UNLABELLED, metric="llm_judge")
