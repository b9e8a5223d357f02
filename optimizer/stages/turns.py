"""The turns of a search: one stage after the other improves the incumbent."""

from __future__ import annotations

from collections.abc import Sequence

from evaluators.diagnosis.diagnoser import Diagnoser
from evaluators.evaluator import Evaluator
from optimizer.formatting import budget_text
from optimizer.search.budget.reserve import Reserve
from optimizer.search.preflight.baseline import (
    check_something_scored,
    check_something_works,
    race_baseline,
)
from optimizer.search.preflight.constant_scores import all_scores_equal, check_scores_differ
from optimizer.search.preflight.expensive_models import leave_out_expensive_models
from optimizer.search.preflight.measured_judge import measure_judge
from optimizer.search.state import SearchState
from optimizer.setup.plan import Plan
from optimizer.setup.stage import Stage
from optimizer.stages.allocation.single_models import (
    compare_with_single_model,
    look_at_single_models,
)
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import Session

FOR_LATER_STAGES = 0.5
"""The share of what is left that a stage of the first turn leaves to those after it."""


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


def diagnoser_of(plan: Plan, state: SearchState) -> Diagnoser | None:
    """The diagnoser asked for; "auto" is the model that did best alone."""
    chosen = state.ablest_model if plan.diagnoser == "auto" else plan.diagnoser
    return Diagnoser(chosen, plan.pipeline, state.evaluator.session) if chosen else None
