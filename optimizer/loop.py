"""`optimize(pipeline, dataset, models)`: the loop, from its arguments to the result."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from evaluators.metrics import JudgedMetric, LabelMetric
from evaluators.metrics.judged import AnyModel
from evaluators.objective import Objective
from optimizer.estimates.estimate import (
    Estimate,
    gain_text,
    largest_estimate,
    smallest_gain,
    with_default_budget,
)
from optimizer.listener import listen
from optimizer.progress import Progress
from optimizer.results.conclusion import conclude
from optimizer.results.result import Result
from optimizer.results.unfinished import best_so_far, end_interrupted
from optimizer.search.pattern_race import conclude_race, pattern_scores, race_patterns
from optimizer.search.records.trial import Trial
from optimizer.search.state import SearchState
from optimizer.setup.model_checks import check_calls_can_be_made, check_models_answer
from optimizer.setup.patterns import prepare_all
from optimizer.setup.plan import Plan, account_of, check_kind
from optimizer.setup.stage import Stage
from optimizer.signals import signals_interrupt
from optimizer.stages.resolver import resolve_stages
from optimizer.stages.turns import begin, diagnoser_of, search, start_search, take_turns
from optimizer.tracking import Tracker
from optimizer.tracking.store import chosen_store
from optimizer.tracking.tracker import described
from pipelines import Pipeline, Tunable
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway, Session, default_gateway
from pipelines.workers import on_workers
from search_spaces import SearchSpace
from search_spaces.refusals import check_whole, naming_arguments

if TYPE_CHECKING:
    import dspy

__all__ = ["begin", "diagnoser_of", "optimize", "search", "start_search", "take_turns"]

logger = logging.getLogger(__name__)

LARGE_GAIN = 0.25
"""If the held-out examples can show no gain as small as this, a warning says so."""


@overload
def optimize(
    pipeline: Tunable | dspy.Module | Sequence[Pipeline],
    dataset: Any,
    models: AnyModel | Sequence[AnyModel] | None = None,
    *,
    dry_run: Literal[True],
    **arguments: Any,
) -> Estimate: ...


@overload
def optimize(
    pipeline: Tunable | dspy.Module | Sequence[Pipeline],
    dataset: Any,
    models: AnyModel | Sequence[AnyModel] | None = None,
    *,
    metric: str | LabelMetric | JudgedMetric | Callable[..., Any] = "exact_match",
    budget: Budget | None = None,
    search_space: SearchSpace | None = None,
    objective: str | Objective = "quality",
    stages: str | Stage | Sequence[str | Stage] = ("allocation", "structure", "prompts"),
    diagnoser: AnyModel | None = "auto",
    holdout: float = 0.3,
    concurrency: int = 32,
    seed: int = 0,
    experiment: str | None = None,
    gateway: Gateway | None = None,
    start: str | os.PathLike[str] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    dry_run: Literal[False] = False,
) -> Result: ...


@naming_arguments  # type: ignore[misc]  # the arguments of the first are those of the second
@signals_interrupt()
def optimize(
    pipeline: Tunable | dspy.Module | Sequence[Pipeline],
    dataset: Any,
    models: AnyModel | Sequence[AnyModel] | None = None,
    *,
    metric: str | LabelMetric | JudgedMetric | Callable[..., Any] = "exact_match",
    budget: Budget | None = None,
    search_space: SearchSpace | None = None,
    objective: str | Objective = "quality",
    stages: str | Stage | Sequence[str | Stage] = ("allocation", "structure", "prompts"),
    diagnoser: AnyModel | None = "auto",
    holdout: float = 0.3,
    concurrency: int = 32,
    seed: int = 0,
    experiment: str | None = None,
    gateway: Gateway | None = None,
    start: str | os.PathLike[str] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    dry_run: bool = False,
) -> Result | Estimate:
    """Find better models, networks and prompts for a pipeline, within a budget.

    Every call is cached on disk, so the same search started again, even after it was killed, takes
    the same path without paying twice. The same arguments and seed give the same result.

    Within `joblib.parallel_config("dask")`, or another backend of processes, workers make the
    calls to servers; see docs/many-machines.md.

    Args:
        pipeline: what to tune; it is not changed. A `Pipeline`; any `dspy.Module`, whose predictors
            are then the modules; or what `from_callable` makes of plain Python. Modules without a
            model start with the first. Of a list of `Pipeline`s with the same outputs, the search
            examples choose the one to tune, and the first is the baseline.
        dataset: rows, a dict of columns, a DataFrame, `dspy.Example`s or a .jsonl, .json, .csv,
            .tsv or .parquet path, with a column for every input of the pipeline and labels for the
            metric; or rows of `inputs` and `expectations`, as `mlflow.genai.evaluate` takes them.
        models: the choices: litellm names, labels of the pipeline's own models, `Model(...)`
            where a name is not enough, or `dspy.LM`s; by default all that the pipeline names. What
            a module itself names is where the search starts, and stays if nothing beats it.
        metric: a name (`exact_match`, `contains`, `numeric_match`, `f1`, `multiple_choice`),
            `llm_judge(...)` or `llm_preference(...)`, any `metric(example, prediction) -> float` in
            [0, 1], or a scorer of `mlflow.genai` that asks no model.
        budget: caps in dollars, calls and seconds. Without it, the upper end of the estimate is the
            cap, and at most $5, which a warning says; `Budget()` caps nothing.
        search_space: other choices than the default ones, for all modules or for some.
        objective: "quality"; `Objective(max_cost_usd=..., max_latency_s=...)` for quality within
            limits per example, or `max_latency_p95_s=...` for 95% of the examples;
            `Objective(within=0.01)` for the cheapest within a point of the best; or "pareto" for
            all that no other config beats in score, cost and latency.
        stages: what to tune, in order; "allocation" chooses models, "structure" widths,
            temperatures, aggregators, members and functions' parameters, "prompts" instructions
            and demos. `Allocation("halving")` names the search strategy, `Prompts("gepa")` the
            optimizer of DSPy's.
        diagnoser: the model that rates modules, and writes prompts; "auto" takes the one that does
            best alone, None leaves the choice to end-to-end scores.
        holdout: share of the examples that only the final scores see; 0 reports search
            estimates, labelled so.
        concurrency: most examples in flight at once.
        seed: decides the split and every other draw.
        experiment: MLflow experiment; the pipeline's name by default.
        gateway: how calls are made: cache folder, providers' limits, retries, timeout.
        start: a file that `result.save` wrote after a search of the same examples. The search
            starts from its config, and tries only allocations with a model that is new.
        on_trial: called with every trial as it ends, in the thread of the search. What it raises
            ends the search.
        dry_run: check the arguments and return an `Estimate` of what the search would take,
            without any call, so that no API key is needed.

    Returns:
        The tuned pipeline with its held-out score, what changed, and what it cost.

    Raises:
        ValueError: an argument does not fit; names the value and the nearest valid choice.
        ModelError: models can't be called, by what is known of them or by a first call to each;
            names all of them. A ValueError.
        BudgetTooSmall: the budget can't pay for the baseline; says what it takes.
        OptimizationError: nothing could be scored, and how the calls failed; all scores are equal;
            a judge does not value what people value; or `on_trial` raised.
        NoWorkers: joblib's backend has no workers that make calls, or has none any more.
        MetricError: the metric raised, or returned no score.
        KeyboardInterrupt: after printing the best so far and how to resume; also at SIGTERM and
            SIGHUP, in the main thread.
    """
    plans = prepare_all(
        pipeline,
        dataset,
        models,
        metric=metric,
        budget=budget,
        search_space=search_space,
        stages=resolve_stages(stages),
        diagnoser=diagnoser,
        holdout=holdout,
        seed=seed,
        objective=objective,
        start=start,
    )
    check_whole("concurrency", concurrency, 1)
    if experiment is not None and not (isinstance(experiment, str) and experiment.strip()):
        raise ValueError(f"experiment must be a name that is not blank, but got {experiment!r}")
    check_kind(gateway, Gateway)
    if on_trial is not None and not callable(on_trial):
        raise ValueError(f"on_trial must be a function of one trial, but got {on_trial!r}")
    for plan in plans:
        check_calls_can_be_made(plan, keys=not dry_run)
    if dry_run:
        return largest_estimate(plans, budget, concurrency)
    chosen_store()  # raises now what would end the search later
    _warn_of_few_held_out(plans[0])
    if budget is None:
        plans = with_default_budget(plans, concurrency)
    session = (gateway or default_gateway()).session(account_of(plans), plans[0].budget)
    session.batches = not plans[0].objective.measures_latency
    with on_workers(session):
        return _searched(plans, session, concurrency, experiment, on_trial)


def _warn_of_few_held_out(plan: Plan) -> None:
    """Warn if no gain as small as `LARGE_GAIN` can be shown."""
    least = smallest_gain(len(plan.holdout))
    if plan.holdout and plan.may_change and (least is None or least > LARGE_GAIN):
        logger.warning("%s More examples can show smaller gains.", gain_text(len(plan.holdout)))


def _searched(
    plans: Sequence[Plan],
    session: Session,
    concurrency: int,
    experiment: str | None,
    on_trial: Callable[[Trial], None] | None,
) -> Result:
    """The result of the search, whose trials are tracked; of several pipelines, they race first."""
    plan = plans[0]
    paid_before = session.spent
    states = [start_search(each, session, concurrency) for each in plans]
    state = states[0]
    try:
        check_models_answer(plan, session)
    except KeyboardInterrupt as interrupt:
        end_interrupted(state)
        raise interrupt.with_traceback(None) from None
    tracker = Tracker.start(plan.pipeline.name, experiment, *described(plans))
    try:
        with Progress(plan.budget) as progress, progress.following(session):
            for own, of in zip(states, plans, strict=True):
                own.numbers = state.numbers
                listen(own, of, tracker, progress, on_trial)
            if plan.metric.human_labels:
                progress.stage("judge")
            begin(state)
            if len(plans) > 1:
                state, plan = _raced(states, plans)
            began = state.baseline
            stopped = search(state, plan)
            conclude_race(state, states[0])
            progress.stage("holdout")
            result = conclude(plan, state, stopped, paid_before, began)
            result = _with_patterns(result, states, plans, state)
        result = replace(result, run_id=tracker.run_id, tracking_uri=tracker.tracking_uri)
        tracker.finish(result)
        return result
    except KeyboardInterrupt as interrupt:
        end_interrupted(state)
        tracker.fail("interrupted", "KILLED", best_so_far(plan, state))
        # the user does not need the place in the search
        raise interrupt.with_traceback(None) from None
    except BaseException as error:
        session.stop()  # or runs in flight would make further calls
        tracker.fail(f"{type(error).__name__}: {error}", "FAILED", best_so_far(plan, state))
        raise


def _raced(states: Sequence[SearchState], plans: Sequence[Plan]) -> tuple[SearchState, Plan]:
    """The search to go on with, and its plan."""
    first = states[0]
    known = first.evaluator.known(first.baseline).outcomes
    for state in states[1:]:
        state.judge = first.judge
        state.evaluator.adopt(first.baseline, plans[0].pipeline, known)
    found = race_patterns(states)
    return found, plans[states.index(found)]


def _with_patterns(
    result: Result, states: Sequence[SearchState], plans: Sequence[Plan], searched: SearchState
) -> Result:
    """The result with what is known of all pipelines; as it is, if there was only one."""
    if len(plans) == 1:
        return result
    by_name = {p.pipeline.name: state for p, state in zip(plans, states, strict=True)}
    trials = sorted((t for state in states for t in state.trials), key=lambda trial: trial.number)
    scores = tuple(pattern_scores(by_name, searched))
    return replace(result, trials_=tuple(trials), patterns_=scores)
