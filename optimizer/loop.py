"""`optimize(pipeline, dataset, models)`: the loop, from its arguments to the result."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from evaluators.diagnosis.diagnoser import Diagnoser
from evaluators.evaluator import Evaluator
from evaluators.metrics import JudgedMetric, LabelMetric
from evaluators.metrics.judged import AnyModel
from evaluators.objective import Objective
from optimizer.errors import OptimizationError
from optimizer.estimates.estimate import Estimate, estimate, gain_text, smallest_gain
from optimizer.formatting import budget_code, budget_text
from optimizer.progress import Progress
from optimizer.results.conclusion import best_so_far, conclude
from optimizer.results.prompt_changes import prompt_before, prompt_text, prompts_of
from optimizer.results.result import Result
from optimizer.search.budget.reserve import Reserve
from optimizer.search.pattern_race import conclude_race, pattern_scores, race_patterns
from optimizer.search.preflight.baseline import (
    check_something_scored,
    check_something_works,
    race_baseline,
)
from optimizer.search.preflight.constant_scores import all_scores_equal, check_scores_differ
from optimizer.search.preflight.expensive_models import leave_out_expensive_models
from optimizer.search.preflight.measured_judge import measure_judge
from optimizer.search.records.module_score import ModuleScore
from optimizer.search.records.trial import Trial, config_text, shortened
from optimizer.search.state import SearchState
from optimizer.setup.model_checks import check_calls_can_be_made, check_models_answer
from optimizer.setup.patterns import prepare_all
from optimizer.setup.plan import Plan, account_of, check_kind
from optimizer.setup.stage import Stage
from optimizer.signals import signals_interrupt
from optimizer.stages.allocation.single_models import (
    compare_with_single_model,
    look_at_single_models,
)
from optimizer.stages.resolver import resolve_stages
from optimizer.tracking import Tracker
from optimizer.tracking.store import chosen_store
from pipelines import Pipeline, Tunable
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import Gateway, Session, default_gateway
from pipelines.workers import on_workers
from search_spaces import SearchSpace
from search_spaces.refusals import check_whole, naming_arguments

if TYPE_CHECKING:
    import dspy


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
    for each in plans:
        check_calls_can_be_made(each, keys=not dry_run)
    if dry_run:
        return _largest(plans, budget, concurrency)
    plan = plans[0]
    chosen_store()  # raises now what would end the search later
    least = smallest_gain(len(plan.holdout))
    if plan.holdout and plan.may_change and (least is None or least > LARGE_GAIN):
        logger.warning("%s More examples can show smaller gains.", gain_text(len(plan.holdout)))
    if budget is None:
        plans = _capped(plans, concurrency)
        plan = plans[0]
    gateway = gateway or default_gateway()
    session = gateway.session(account_of(plans), plan.budget)
    session.batches = not plan.objective.measures_latency
    with on_workers(session):
        return _searched(plans, session, concurrency, experiment, on_trial)


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
        _end(state)
        raise interrupt.with_traceback(None) from None
    tracker = Tracker.start(plan.pipeline.name, experiment, *_described(plans))
    try:
        with Progress(plan.budget) as progress, progress.following(session):
            for own, of in zip(states, plans, strict=True):
                own.numbers = state.numbers
                own.on_trial = _listener(tracker, progress, of, own, on_trial)
                own.on_module_scores = partial(_note_scores, tracker, own)
            if plan.metric.human_labels:
                progress.stage("judge")
            begin(state)
            if len(plans) > 1:
                state, plan = _raced(states, plans)
            began = state.baseline
            stopped = search(state, plan)
            conclude_race(state, states[0])
            progress.stage("holdout")
            held_out = _holdout(plan, state)
            result = conclude(plan, state, held_out, stopped, paid_before, began)
            result = _with_patterns(result, states, plans, state)
        result = replace(result, run_id=tracker.run_id, tracking_uri=tracker.tracking_uri)
        tracker.finish(result)
        return result
    except KeyboardInterrupt as interrupt:
        _end(state)
        tracker.fail("interrupted", "KILLED", best_so_far(plan, state))
        # the user does not need the place in the search
        raise interrupt.with_traceback(None) from None
    except BaseException as error:
        session.stop()  # or runs in flight would make further calls
        tracker.fail(f"{type(error).__name__}: {error}", "FAILED", best_so_far(plan, state))
        raise


FOR_LATER_STAGES = 0.5
"""The share of what is left that a stage of the first turn leaves to those after it."""


def begin(state: SearchState) -> None:
    """Race the baseline.

    Raises:
        BudgetTooSmall: the budget can't pay for it.
        OptimizationError: nothing works, or the judge does not value what people value.
    """
    state.judge = measure_judge(state)
    race_baseline(state)


def search(state: SearchState, plan: Plan) -> str | None:
    """Race the single models, and what the stages propose, until none helps.

    Returns:
        Why the search ended early, or had nothing to choose by; None otherwise.

    Raises:
        OptimizationError: there is nothing to choose by, since nothing works, or since all scores
            are equal.
    """
    try:
        leave_out_expensive_models(state)
        check_something_works(state)
        if nothing_to_gain := check_scores_differ(state):
            return nothing_to_gain
        look_at_single_models(state)
        check_something_scored(state)
        state.diagnoser = diagnoser_of(plan, state)
        take_turns(state, plan.stages)
        ended = state.cut_short
    except BudgetExhausted as exhausted:
        ended = str(exhausted)
    if (equal := all_scores_equal(state)) or not ended:
        return equal
    cap = "the budget"
    if plan.budget_is_default:
        cap = f"the default budget of {budget_text(plan.budget)}, as none was given,"
    return f"{cap} ended the search: {ended}{_not_reached(state, plan.stages)}"


def _not_reached(state: SearchState, stages: Sequence[Stage]) -> str:
    """Names the stages of which no trial was run before the budget ended."""
    ran = {trial.stage for trial in state.trials} | {probe.stage for probe in state.probes}
    missing = [stage.name for stage in stages if stage.name not in ran | state.finished]
    return f"; no trial of {', '.join(missing)} was run" if missing and not state.has_it_all else ""


def take_turns(state: SearchState, stages: Sequence[Stage]) -> None:
    """Let one stage after the other improve the incumbent, until a turn brings nothing new.

    In the first turn each stage leaves half of the budget to those after it; if that cuts it short,
    it goes on in the second. Where quality alone counts and the incumbent is right on all search
    examples, no stage can improve it.

    Raises:
        BudgetExhausted: the budget does not reach.
    """
    led: set[str] = set()
    unfinished = False
    while unfinished or state.incumbent.key not in led:  # else the incumbent led before
        led.add(state.incumbent.key)
        state.turn += 1
        unfinished = False
        for place, stage in enumerate(stages, start=1):
            if not state.has_it_all:
                share = FOR_LATER_STAGES if state.turn == 1 and place < len(stages) else 0.0
                unfinished |= not _finishes(stage, state, share)
        compare_with_single_model(state)


def _finishes(stage: Stage, state: SearchState, share: float) -> bool:
    """Let a stage improve the incumbent; false if the share kept for later ones cut it short."""
    try:
        with state.forecast.withholding(share):
            stage.improve(state)
    except BudgetExhausted:
        if not share:
            raise
    else:
        if not state.cut_short:
            state.finished.add(stage.name)
        if not (share and state.cut_short):
            return True
    state.cut_short = None
    state.settled.pop(stage.name, None)
    return False


def start_search(plan: Plan, session: Session, concurrency: int) -> SearchState:
    """The state before the first race; the incumbent is the config as given."""
    metric = plan.metric.open(session)
    evaluator = Evaluator(plan.pipeline, plan.models, plan.search, metric, session, concurrency)
    finished = set(plan.start.finished_stages) if plan.start else set()
    return SearchState(
        evaluator=evaluator,
        space=plan.space,
        examples=range(len(plan.search)),
        baseline=plan.baseline,
        reserve=Reserve(
            evaluator, (plan.against or plan).baseline, len(plan.holdout), plan.may_change
        ),
        objective=plan.objective,
        seed=plan.seed,
        searched_models=plan.start.searched_among(plan.models) if plan.start else frozenset(),
        settled=dict.fromkeys(finished - {"allocation"}, plan.baseline),
    )


def diagnoser_of(plan: Plan, state: SearchState) -> Diagnoser | None:
    """The diagnoser asked for; "auto" is the model that did best alone."""
    chosen = state.ablest_model if plan.diagnoser == "auto" else plan.diagnoser
    return Diagnoser(chosen, plan.pipeline, state.evaluator.session) if chosen else None


def _raced(states: Sequence[SearchState], plans: Sequence[Plan]) -> tuple[SearchState, Plan]:
    """The search to go on with, and its plan."""
    first = states[0]
    known = first.evaluator.known(first.baseline).outcomes
    for state in states[1:]:
        state.judge = first.judge
        state.evaluator.adopt(first.baseline, plans[0].pipeline, known)
    found = race_patterns(states)
    return found, plans[states.index(found)]


def _holdout(plan: Plan, state: SearchState) -> Evaluator:
    """The evaluator of the held-out examples."""
    own = state.evaluator
    held_out = Evaluator(
        plan.pipeline, plan.models, plan.holdout, own.metric, own.session, own.concurrency
    )
    if plan.against:
        held_out.adopt(plan.against.baseline, plan.against.pipeline, {})
    return held_out


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


def _note_scores(tracker: Tracker, state: SearchState, scores: Sequence[ModuleScore]) -> None:
    tracker.module_scores(scores, state.rater)


def _largest(plans: Sequence[Plan], budget: Budget | None, concurrency: int) -> Estimate:
    """The estimate of the pipeline whose search may take the most."""
    estimates = (estimate(plan, budget, concurrency) for plan in plans)
    return max(estimates, key=lambda each: (each.usd.high, each.calls.high))


def _capped(plans: Sequence[Plan], concurrency: int) -> list[Plan]:
    """The plans with the default budget, which a warning names."""
    default = _largest(plans, None, concurrency).default
    logger.warning(
        "NO BUDGET WAS GIVEN: the search is capped at %s. Give %s or another, or budget=Budget() "
        "for no cap; optimize(..., dry_run=True) estimates what a search takes",
        budget_text(default), budget_code(default),
    )  # fmt: skip
    first, *others = (replace(plan, budget=default, budget_is_default=True) for plan in plans)
    return [first, *(replace(other, against=first) for other in others)]


def _listener(
    tracker: Tracker,
    progress: Progress,
    plan: Plan,
    state: SearchState,
    callback: Callable[[Trial], None] | None,
) -> Callable[[Trial], None]:
    accepted = prompts_of(plan.pipeline, plan.baseline)

    def on_trial(trial: Trial) -> None:
        tracker.record(trial)
        for module, prompt in prompts_of(plan.pipeline, state.incumbent).items():
            if prompt != prompt_before(module, accepted):
                accepted[module] = prompt
                config = state.incumbent.part(module.partition(".members.")[0])
                model = {"model_name": config.models[0], "temperature": config.temperature}
                text = prompt_text(prompt)
                tracker.prompt(plan.pipeline.name, module, text, trial.stage, model)
        known, baseline = map(state.evaluator.known, (state.incumbent, state.baseline))
        session = state.evaluator.session
        tracker.best(session.nominal.calls, known.mean)
        progress.stage(trial.stage, trial.turn)
        progress.update(known.interval, baseline.interval, session.spent, session.seconds)
        try:
            if callback is not None:
                callback(trial)
        except Exception as error:
            raise OptimizationError(
                f"on_trial raised {type(error).__name__}: {error}, at trial {trial.number} "
                f"({trial.stage}), which ended the search; fix it and run again: answers so "
                "far are cached and not paid for twice"
            ) from error

    return on_trial


def _described(plans: Sequence[Plan]) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The params, tags and files of the run that describe its arguments."""
    plan = plans[0]
    space = plan.space.model_dump(mode="json", exclude={"exportable"})
    params = {
        "patterns": ", ".join(each.pipeline.name for each in plans) if len(plans) > 1 else None,
        "metric": plan.metric.name,
        "models": ", ".join(plan.models),
        "search_examples": len(plan.search),
        "holdout_examples": len(plan.holdout),
        "seed": plan.seed,
        "budget_usd": plan.budget.usd,
        "budget_calls": plan.budget.calls,
        "budget_seconds": plan.budget.seconds,
        "budget_is_default": plan.budget_is_default or None,
        "diagnoser": getattr(plan.diagnoser, "label", plan.diagnoser),
        "judge/model": plan.metric.judging.model.label if plan.metric.judging else None,
        "objective": str(plan.objective),
        "stages": ", ".join(stage.name for stage in plan.stages),
        **{f"search_space/{knob}": _choices_text(choices) for knob, choices in space.items()},
    }
    tags = {"study": plan.key, "search": plan.search.digest}
    if plan.holdout:
        tags["holdout"] = plan.holdout.digest
    files = {"search_space.json": json.dumps(space, indent=1)}
    if plan.metric.judging:
        files["judge.txt"] = plan.metric.judging.metric.question.instructions
    return params, tags, files


def _choices_text(choices: Mapping[str, Any]) -> str | None:
    """One knob's choices by module, shortened; None where no module has any."""
    given = {module: values for module, values in choices.items() if values}
    return shortened(json.dumps(given), 500) if given else None


def _end(state: SearchState) -> None:
    """After an interrupt: wait for calls in flight, which are paid for, and print how to resume."""
    session = state.evaluator.session
    session.stop()
    if session.in_flight:
        waiting = f"waiting for {session.in_flight} calls in flight; ctrl-C again gives them up"
        with suppress(OSError):  # the terminal may be gone
            print(f"\n{waiting}", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            session.drain()
    with suppress(OSError):
        print(_interrupted(state), file=sys.stderr)


def _interrupted(state: SearchState) -> str:
    best = state.evaluator.known(state.incumbent)
    spent = state.evaluator.session.spent
    so_far = (
        f"Best so far: {best.mean:.3f} (search estimate on {len(best.scores)} examples) with "
        f"{config_text(state.incumbent)}"
        if best.scores
        else "Nothing was scored yet"
    )
    lost = state.evaluator.session.in_flight
    given_up = f" {lost} calls were given up, and count at the worst they may cost." if lost else ""
    return (
        f"\ninterrupted. {so_far}. Spent: ${spent.usd:.4f} in {spent.calls} calls.{given_up} "
        "Run the same again to resume: every answer so far is kept, and none is paid for twice."
    )
