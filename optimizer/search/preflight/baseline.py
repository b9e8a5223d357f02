"""Trial 0, the pipeline as given: does it work at all, and can the budget pay for it?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product

from evaluators.outcome import Evaluation
from optimizer.errors import BudgetTooSmall, OptimizationError
from optimizer.search.preflight.expensive_models import leave_out_expensive_models, worst_calls
from optimizer.search.preflight.unseen_modules import warn_of_unseen
from optimizer.search.state import SearchState
from optimizer.setup.space_checks import named_models
from pipelines.gateway.call import BudgetExhausted
from pipelines.providers import limits_of

PRICED_EXAMPLES = 4
"""On how many examples the baseline runs to learn what an example costs, and every single model
before the search: enough to choose a diagnoser."""

DOUBTED_EXAMPLES = 16
"""On how many it runs where all of those failed, before every single model is tried."""


def race_baseline(state: SearchState) -> None:
    """Trial 0. A few examples first, to find out whether the budget can pay for all of them."""
    with _paying(state):
        _check_price(state)
        failed = _always_fails(state)
        if failed:
            state.evaluator.evaluate(state.baseline, state.examples[:DOUBTED_EXAMPLES])
    if failed:
        leave_out_expensive_models(state)
        with suppress(BudgetExhausted):
            check_something_works(state)
    with _paying(state):
        state.look("baseline", [state.baseline], len(state.examples))
        warn_of_unseen(state)
    state.protect_holdout()


def _runs(state: SearchState) -> int:
    """How often the pipeline runs for the baseline and the final pass over the holdout."""
    passes = 2 if state.reserve.may_change else 1
    return len(state.examples) + state.reserve.examples * passes


@contextmanager
def _paying(state: SearchState) -> Iterator[None]:
    """Report what the baseline takes, if the budget can't pay for it.

    Raises:
        BudgetTooSmall: it can't.
    """
    try:
        yield
    except BudgetExhausted as exhausted:
        cap = state.evaluator.session.budget.usd
        need = f"; {_usd_need(state)}" if cap is not None and _usd_needed(state) > cap else ""
        raise BudgetTooSmall(f"the budget can't pay for the baseline: {exhausted}{need}") from None


def _check_price(state: SearchState) -> None:
    """Run a few examples.

    Raises:
        OptimizationError: no call for them gets through.
        BudgetTooSmall: the others would cost too much.
    """
    cap = state.evaluator.session.budget.usd
    first = state.evaluator.evaluate(state.baseline, state.examples[:PRICED_EXAMPLES])
    if not first.scores:
        problem = "the pipeline as given could not be scored"
        raise OptimizationError(_nothing_works(state, problem, first))
    if cap is not None and _usd_needed(state) > cap:
        raise BudgetTooSmall(f"a budget of ${cap:g} is too small: {_usd_need(state)}")


def _usd_needed(state: SearchState) -> float:
    """What the baseline and the final pass over the holdout take, at the prices of the calls so
    far, and room for one more call."""
    metric, runs = state.evaluator.metric, _runs(state)
    verdicts = (runs + metric.human_labels) * metric.calls
    again = state.evaluator.known(state.baseline).calls_per_first_call
    most = state.evaluator.most_calls(state.baseline) * again
    calls = {"task": runs * most, "judge": verdicts}
    made = state.evaluator.session.nominal.by_purpose
    needed = sum(n * made[each].usd / made[each].calls for each, n in calls.items() if each in made)
    return needed + state.reserve.most_usd_of_a_call(state.baseline)


def _usd_to_search(state: SearchState) -> float:
    """Dollars to begin a search: also for the final pass at the highest cost of an example so far,
    for a first look at every single model, and for two of the longest answers of any model, so that
    none is left out."""
    baseline, space = state.baseline, state.space
    singles = [baseline.with_single_model(label) for label in space.single_models()]
    _, look = state.forecast.cost(list(product(singles, state.examples[:PRICED_EXAMPLES])))
    kept = state.reserve.usd([baseline, baseline])
    return _usd_needed(state) + kept + look + 2 * max(worst_calls(state).values(), default=0.0)


def _usd_need(state: SearchState) -> str:
    calls, needed = state.evaluator.session.nominal.calls, _usd_needed(state)
    last = state.reserve.most_usd_of_a_call(state.baseline)
    takes = f"and the longest answer to the first call alone may cost {_up(last)}: give more"
    if calls:
        takes = (
            f"which takes about {_up(needed)} (measured on {calls} calls{_kept(state)}); "
            f"{_up(last)} of that must be left for the longest answer, and to begin a search takes "
            f"about {_up(_usd_to_search(state))}: give that"
        )
    judged = " and judge its answers" if state.evaluator.metric.judging else ""
    return (
        f"the baseline and the final pass over the holdout run the pipeline {_runs(state)} times"
        f"{judged}, {takes}, fewer examples, or models a lower max_tokens"
    )


def _kept(state: SearchState) -> str:
    """How many of these calls were not paid for now."""
    session, purposes = state.evaluator.session, {"task", "judge"}
    made, paid = (
        sum(spend.by_purpose[each].calls for each in purposes & spend.by_purpose.keys())
        for spend in (session.nominal, session.spent)
    )
    return f", of which the cache had {made - paid}" if made > paid else ""


def _up(usd: float) -> str:
    """Rounded up, so that the amount suffices."""
    return f"${math.ceil(1e4 * usd) / 1e4:.4f}"


def check_something_works(state: SearchState) -> None:
    """If every run of the baseline failed, check whether any single model does better.

    Raises:
        OptimizationError: none does on a few examples; says how the baseline failed.
        BudgetExhausted: the check can't be paid.
    """
    if not _always_fails(state):
        return
    few = state.examples[:PRICED_EXAMPLES]
    for label in state.space.single_models():
        tried = state.evaluator.evaluate(state.baseline.with_single_model(label), few)
        if not all(outcome.failure for outcome in tried.outcomes.values()):
            return
    problem = "the pipeline as given fails on every example tried, and so does every single model"
    raise OptimizationError(_nothing_works(state, problem, state.evaluator.known(state.baseline)))


def _always_fails(state: SearchState) -> bool:
    known = state.evaluator.known(state.baseline)
    return all(outcome.failure for outcome in known.outcomes.values())


def check_something_scored(state: SearchState) -> None:
    """Check that there are configs to compare: with too many failed calls, none has a score.

    Raises:
        OptimizationError: says how those of the incumbent failed.
    """
    incumbent = state.evaluator.known(state.incumbent)
    if incumbent.disqualified and incumbent.hit > 1:  # one example may be more than a tenth
        problem = "too many calls of every config fail"
        raise OptimizationError(_nothing_works(state, problem, incumbent))


def _nothing_works(state: SearchState, problem: str, known: Evaluation) -> str:
    failures = [o.failure for o in known.outcomes.values() if o.failure]
    counts = ", ".join(f"{kind} x{count}" for kind, count in known.failures.items())
    first = failures[0]
    return (
        f"{problem}; {len(failures)} of {len(known.outcomes)} examples failed ({counts}); "
        f"the first: {first.module}: {first.message}{limits_text(state)}"
    )


def limits_text(state: SearchState) -> str:
    """A last sentence about what none of the models can do, if that is known."""
    space = state.space
    labels = {*state.baseline.labels, *named_models(space)}.union(*space.models.values())
    limits = limits_of(state.evaluator.models[label] for label in sorted(labels))
    return limits and f". Note: {limits}"
