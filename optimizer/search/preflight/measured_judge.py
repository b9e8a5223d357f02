"""Compares the metric's judge with people, before anything else is spent."""

from __future__ import annotations

from collections.abc import Sequence

from evaluators.metrics import Score
from evaluators.metrics.human_labels import HumanLabels, JudgeAgreement, judge_agreement
from evaluators.outcome import MOST_UNSCORED
from optimizer.errors import BudgetTooSmall, OptimizationError
from optimizer.formatting import agreement_text, counted
from optimizer.search.state import SearchState
from pipelines.gateway.call import BudgetExhausted


def measure_judge(state: SearchState) -> JudgeAgreement | None:
    """Let the judge score all human labels once; None if the metric has no judge.

    Raises:
        BudgetTooSmall: the budget can't pay for that.
        OptimizationError: the judge fails, or its scores do not rise with people's.
    """
    judging = state.evaluator.metric.judging
    if judging is None:
        return None
    label = judging.model.label
    if judging.labels is None:
        return JudgeAgreement(label)
    agreement = _compared(label, _scores(state, label, judging.labels), judging.labels.scores)
    _check_informative(agreement)
    return agreement


def _scores(state: SearchState, judge: str, labels: HumanLabels) -> list[Score]:
    """The judge's scores of the answers that people have scored."""
    metric = state.evaluator.metric
    try:
        state.forecast.check_calls(len(labels.answers) * metric.calls)
        return state.evaluator.map(lambda row: metric(row, row), labels.answers)
    except BudgetExhausted as exhausted:
        count = counted(len(labels.answers), "human label")
        raise BudgetTooSmall(
            f"the budget can't pay for {judge} judging {count}: {exhausted}"
        ) from exhausted


def _compared(judge: str, scores: Sequence[Score], human: Sequence[float]) -> JudgeAgreement:
    """How far the judge agrees with people, on the answers that it scored."""
    failures = [score.failure for score in scores if score.failure]
    pairs = [(s.value, h) for s, h in zip(scores, human, strict=True) if s.value is not None]
    judged = [label for _, label in pairs]
    if len(failures) > MOST_UNSCORED * len(scores) or len(set(judged)) < 2:
        raise OptimizationError(
            f"the judge {judge} failed on {len(failures)} of {len(scores)} human labels; "
            f"the first: {failures[0].message}"
        )
    return judge_agreement(judge, [value for value, _ in pairs], judged)


def _check_informative(measured: JudgeAgreement) -> None:
    """Raises OptimizationError unless the judge's scores rise with people's: the search would go by
    something that people do not value."""
    calibration = measured.calibration
    if calibration is None or calibration.informative:
        return
    slope = calibration.cautious.slope_interval
    advice = (
        "so it falls: are the labels the other way round?"
        if slope.high < 0
        else "which may be nothing; try another model as judge, a clearer rubric, or more labels"
    )
    raise OptimizationError(
        f"the judge {measured.model} is not shown to score higher what people score higher: "
        f"{agreement_text(measured)}, and where people's score rises by 1, its own rises by "
        f"{slope}, {advice}"
    )
