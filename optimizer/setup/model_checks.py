"""Checks that all models can be called: by what is known of them, and by one call to each."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from optimizer.setup.plan import Plan
from optimizer.setup.space_checks import named_models
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError

_QUESTION = {"role": "user", "content": "Reply with the word OK."}
_LONGEST_S = 10.0
_SHARE = 0.1
"""The share of the budget's calls, dollars and seconds that these calls may take at their worst."""


def check_calls_can_be_made(plan: Plan, *, keys: bool = True) -> None:
    """Raises ModelError for unknown models, missing prices and, if asked, keys; names them all."""
    from pipelines.providers import check_models

    check_models((model for role, model in _models(plan) if not role), keys=keys)
    for role, model in ((role, model) for role, model in _models(plan) if role):
        try:
            check_models([model], keys=keys)
        except ModelError as error:
            raise ModelError(f"as {role}: {error}") from None


def check_models_answer(plan: Plan, session: Session) -> None:
    """Call each model once, all at the same time, before anything long begins.

    The settings are those of the search, so that wrong ones are found, too. Only a call shows that
    a key is valid, that a server runs, and that it has a model of this name. Refused calls are
    repeated once, since servers sometimes refuse a single one. Failures that may be temporary (a
    rate limit, an error of the server, no answer within ten seconds) are left to the search.
    Replies are cached for this search, so that resuming it repeats no call. No call is made if
    their worst cost exceeds a tenth of the budget.

    Raises:
        ModelError: some can't be called; names all of them, and what helps.
    """
    asked = {model.label: (role, model) for role, model in reversed(list(_models(plan)))}
    sample = int(plan.key[:8], 16)  # another search asks again
    calls = [
        LMCall(model, (_QUESTION,), sample=sample, purpose="check") for _, model in asked.values()
    ]
    if not _affordable(plan, calls):
        return
    cap = plan.budget.seconds
    seconds = _LONGEST_S if cap is None else min(_LONGEST_S, _SHARE * cap)
    failures = session.try_once(calls, seconds)
    doubted = [call for call, failure in zip(calls, failures, strict=True) if _stays(failure)]
    again = session.try_once(doubted, seconds) if doubted else []
    broken = {c.model.label: failure for c, failure in zip(doubted, again, strict=True)}
    problems = [
        f"as {role}: {broken[label]}" if role else str(broken[label])
        for label, (role, _) in asked.items()
        if _stays(broken.get(label))
    ]
    if problems:
        session.stop()
        listed = "\n".join(textwrap.indent(each, "  ") for each in reversed(problems))
        raise ModelError(
            f"{len(problems)} of {len(calls)} models can't be asked, as a first call to each "
            f"shows:\n{listed}\nMend that, or take them out"
        )


def _models(plan: Plan) -> Iterator[tuple[str, Model]]:
    """Every model that may be called, after its role if it is consulted."""
    labels = {*named_models(plan.space), *plan.baseline.labels}.union(*plan.space.models.values())
    yield from (("", model) for label, model in plan.models.items() if label in labels)
    judging = plan.metric.judging
    for role, model in (("diagnoser", plan.diagnoser), ("judge", judging and judging.model)):
        if isinstance(model, Model):
            yield role, model


def _stays(failure: CallFailed | None) -> bool:
    """Whether a search would fail in the same way: not an outage, nor a single bad answer."""
    if failure is None:
        return False
    unreachable = failure.away and not failure.sent
    return failure.infrastructure and (unreachable or not failure.retryable)


def _affordable(plan: Plan, calls: list[LMCall]) -> bool:
    from pipelines.providers import price_of

    usd, most = plan.budget.usd, plan.budget.calls
    if most is not None and len(calls) > min(_SHARE * most, most - plan.least_calls):
        return False
    return usd is None or sum(price_of(c.model).worst_usd(c) for c in calls) <= _SHARE * usd
