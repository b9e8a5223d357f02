"""Scores a pipeline as it is, and compares it with what its file records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluators.errors import DatasetError
from evaluators.evaluator import Evaluator
from evaluators.outcome import Evaluation
from evaluators.statistics import Interval, stratified_interval
from optimizer.evaluation.drift import Drift
from optimizer.results.held_out_scores import HeldOutScores, example_key
from optimizer.setup.model_checks import check_calls_can_be_made, check_models_answer
from optimizer.setup.plan import Plan, prepare
from pipelines import Tunable
from pipelines.gateway.budget import Budget, Spend
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import Gateway, default_gateway
from pipelines.workers import on_workers
from search_spaces.refusals import check_whole, nearest

if TYPE_CHECKING:
    import dspy

logger = logging.getLogger(__name__)

_STRATA, _FEWEST = 5, 4
"""At most this many strata, each with at least this many rows."""


@dataclass(frozen=True)
class Evaluated:
    """A pipeline's score on some rows."""

    plan: Plan
    evaluation: Evaluation
    """Every example's outcome."""
    score: Interval | None
    """Mean score with its 95% interval; None when nothing was scored."""
    drift: Drift | None
    """The change since the search; None if the pipeline records no held-out scores by this metric.
    """
    spent: Spend
    """At recorded prices, calls from the cache included."""


def evaluate(
    pipeline: Tunable | dspy.Module,
    dataset: Any,
    *,
    models: Any = None,
    metric: Any = "exact_match",
    budget: Budget | None = None,
    concurrency: int = 32,
    strata: str | None = None,
    gateway: Gateway | None = None,
) -> Evaluated:
    """Run every example once, and score it; nothing is tuned.

    Workers of joblib's backends make the calls, as those of `optimize`.

    Args:
        pipeline: as `optimize` takes it; one that `Pipeline.load` read from a file of
            `result.save` is compared with its recorded held-out scores.
        dataset: labelled examples, as `optimize` takes them.
        models: the model of the modules that name none.
        metric: as `optimize` takes it.
        budget: the caps; none by default.
        concurrency: most examples in flight.
        strata: the column of agreement with which `rows_to_label` has picked the rows, for a
            narrower interval.
        gateway: whose cache, limits and retries to use; by default, the user's.

    Raises:
        ValueError: names the value, the rule and the nearest valid choice.
        RuntimeError: the budget ended before all examples were run.
        NoWorkers: joblib's backend has no workers that make calls, or has none any more.
    """
    check_whole("concurrency", concurrency, 1)
    plan = prepare(pipeline, dataset, models, metric=metric, budget=budget, holdout=0)
    if strata is not None and strata not in plan.search.columns:
        columns = plan.search.columns
        raise DatasetError(f"strata names no column: {strata!r}{nearest(strata, columns)}")
    recorded = recorded_scores(plan.pipeline, plan.metric.name)
    check_calls_can_be_made(plan)
    session = (gateway or default_gateway()).session(f"evaluate {plan.account}", plan.budget)
    session.batches = True
    check_models_answer(plan, session)
    bound = plan.metric.open(session)
    evaluator = Evaluator(plan.pipeline, plan.models, plan.search, bound, session, concurrency)
    with on_workers(session):
        known = run_all(evaluator, plan)
    keys = [example_key(evaluator.inputs(index)) for index in range(len(plan.search))]
    return Evaluated(
        plan=plan,
        evaluation=known,
        score=known.interval if strata is None else _stratified(plan, known, strata),
        drift=Drift.between(recorded, known, keys) if recorded else None,
        spent=session.nominal,
    )


def run_all(evaluator: Evaluator, plan: Plan) -> Evaluation:
    """The plan's config on all examples; raises RuntimeError if the budget ends before."""
    try:
        return evaluator.evaluate(plan.baseline, range(len(plan.search)))
    except BudgetExhausted as exhausted:
        done = len(evaluator.known(plan.baseline).outcomes)
        raise RuntimeError(
            f"the budget ended after {done} of {len(plan.search)} examples: {exhausted}; give "
            "more, and what was answered so far is not paid for again"
        ) from exhausted


def recorded_scores(
    pipeline: Tunable | dspy.Module, metric: str | Callable[..., Any]
) -> HeldOutScores | None:
    """The held-out scores that a saved pipeline records; None, with a warning, if they are by
    another metric. Raises PipelineError if they can't be read."""
    if not isinstance(pipeline, Tunable):
        return None
    recorded = HeldOutScores.kept_in(pipeline.provenance)
    earlier = pipeline.provenance.get("metric")
    if recorded is not None and earlier != metric:
        logger.warning(
            "the held-out scores of %r are by the metric %r, not %r, and so not compared with",
            pipeline.name, earlier, metric,
        )  # fmt: skip
        return None
    return recorded


def _stratified(plan: Plan, known: Evaluation, column: str) -> Interval | None:
    """The mean with an interval by strata of equal size, in the order of agreement."""
    data, scores = plan.search, known.scores
    try:
        order = sorted(scores, key=lambda index: (float(data[index][column]), data.rows[index]))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"the column {column!r} of strata must have numbers: {error}") from None
    strata = min(_STRATA, len(order) // _FEWEST)
    if strata < 2:
        return known.interval
    return stratified_interval(np.array_split([scores[index] for index in order], strata))
