"""Trial 0, the pipeline as given: does it work at all, and can the budget pay for it?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from evaluators.evaluation import Evaluation
from optimizer.dear_models import leave_out_dear_models
from optimizer.door import BudgetTooSmall
from optimizer.study import Study
from optimizer.unseen_modules import warn_of_unseen
from pipelines.llms.call import BudgetExhausted

PRICED_EXAMPLES = 4
"""How many examples the baseline runs on to learn what an example costs."""

DOUBTED_EXAMPLES = 16
"""On how many, where it failed on all of those, before every single model is looked at."""


class OptimizationError(RuntimeError):
    """The search could not start: no config could be scored."""


def race_baseline(study: Study) -> None:
    """Trial 0. A few examples first, to find out whether the budget can pay for all of them."""
    with _paying(study):
        _check_price(study)
        failed = _always_fails(study)
        if failed:
            study.evaluator.evaluate(study.baseline, study.examples[:DOUBTED_EXAMPLES])
    if failed:
        leave_out_dear_models(study)
        with suppress(BudgetExhausted):
            check_something_works(study)
    with _paying(study):
        study.race("baseline", [study.baseline])
        warn_of_unseen(study)
    study.protect_holdout()


@contextmanager
def _paying(study: Study) -> Iterator[None]:
    """Say what the baseline takes, where the budget can't pay for it.

    Raises:
        BudgetTooSmall: it can't.
    """
    try:
        yield
    except BudgetExhausted as exhausted:
        need = f"; {_usd_need(study)}" if study.evaluator.session.budget.usd is not None else ""
        raise BudgetTooSmall(
            f"the budget can't pay for the baseline: {exhausted}{need}"
        ) from exhausted


def _check_price(study: Study) -> None:
    """Run a few examples.

    Raises:
        OptimizationError: no call for them gets through.
        BudgetTooSmall: the others would cost too much.
    """
    cap = study.evaluator.session.budget.usd
    first = study.evaluator.evaluate(study.baseline, study.examples[:PRICED_EXAMPLES])
    if not first.scores:
        raise OptimizationError(_nothing_works("the pipeline as given could not be scored", first))
    if cap is not None and _usd_needed(study) > cap:
        raise BudgetTooSmall(f"a budget of ${cap:g} is too small: {_usd_need(study)}")


def _runs(study: Study) -> int:
    """How often the pipeline runs for the baseline and the final pass over the holdout."""
    passes = 3 if study.reserve.may_change else 1
    return len(study.examples) + study.reserve.examples * passes


def _usd_needed(study: Study) -> float:
    """What those runs take at the prices of the calls made so far, and room for one more call."""
    metric, runs = study.evaluator.metric, _runs(study)
    verdicts = (runs + metric.human_labels) * metric.calls
    calls = {"task": runs * study.evaluator.most_calls(study.baseline), "judge": verdicts}
    made = study.evaluator.session.nominal.by_purpose.items()
    needed = sum(calls[purpose] * part.usd / part.calls for purpose, part in made)
    return needed + study.reserve.most_usd_of_a_call(study.baseline)


def _usd_need(study: Study) -> str:
    calls, needed = study.evaluator.session.nominal.calls, _usd_needed(study)
    last = study.reserve.most_usd_of_a_call(study.baseline)
    takes = f"about ${needed:.4f} (measured on {calls} calls)" if calls else f"over ${needed:.4f}"
    judged = " and judge its answers" if study.evaluator.metric.judging else ""
    return (
        f"the baseline and the final pass over the holdout run the pipeline {_runs(study)} times"
        f"{judged}, which takes {takes}; ${last:.4f} of that must be left for the longest answer: "
        "give more, fewer examples, or models a lower max_tokens"
    )


def check_something_works(study: Study) -> None:
    """When every run of the baseline failed, look whether any single model does better.

    Raises:
        OptimizationError: none does on a few examples; says how the baseline failed.
        BudgetExhausted: the look can't be paid.
    """
    if not _always_fails(study):
        return
    known, baseline = study.evaluator.known, study.baseline
    single = [dict.fromkeys(baseline.allocation, label) for label in study.space.single_models()]
    few = study.examples[:PRICED_EXAMPLES]
    for models in single:
        tried = study.evaluator.evaluate(baseline.with_models(models), few)
        if not all(outcome.failure for outcome in tried.outcomes.values()):
            return
    told = "the pipeline as given fails on every example tried, and so does every single model"
    raise OptimizationError(_nothing_works(told, known(baseline)))


def _always_fails(study: Study) -> bool:
    known = study.evaluator.known(study.baseline)
    return all(outcome.failure for outcome in known.outcomes.values())


def check_something_scored(study: Study) -> None:
    """Go no further when too many calls of every config have failed to compare anything.

    Raises:
        OptimizationError: says how those of the incumbent failed.
    """
    incumbent = study.evaluator.known(study.incumbent)
    if incumbent.disqualified:
        raise OptimizationError(_nothing_works("too many calls of every config fail", incumbent))


def _nothing_works(told: str, known: Evaluation) -> str:
    failures = [o.failure for o in known.outcomes.values() if o.failure]
    counts = ", ".join(f"{kind} x{count}" for kind, count in known.failures.items())
    first = failures[0]
    return (
        f"{told}; {len(failures)} of {len(known.outcomes)} examples failed ({counts}); "
        f"the first: {first.module}: {first.message}"
    )
