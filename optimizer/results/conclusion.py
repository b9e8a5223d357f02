"""Builds the `Result` of a finished search."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from itertools import combinations
from typing import Any

from evaluators.evaluator import Evaluator
from evaluators.outcome import Evaluation
from evaluators.statistics import Interval
from optimizer.results.examples import scored_examples
from optimizer.results.held_out_scores import KEPT_AS, HeldOutScores, example_key
from optimizer.results.operating_points import operating_points, unproven
from optimizer.results.result import DiagnoserAgreement, HeldOut, Result, Spent, Withdrawn
from optimizer.search.holdout import FinalScores, score_finalists, search_estimates
from optimizer.search.records.module_score import ModuleScore, latest_scores
from optimizer.search.state import SearchState
from optimizer.setup.plan import Plan
from optimizer.setup.start import digest_of
from pipelines import Tunable
from pipelines.gateway.budget import Spend
from pipelines.gateway.call import BudgetExhausted
from search_spaces import PipelineConfig

NO_GAIN = Interval(0.0, 0.0, 0.0)
"""Of a config over itself."""


def conclude(
    plan: Plan,
    state: SearchState,
    stopped: str | None,
    paid_before: Spend | None = None,
    began: PipelineConfig | None = None,
) -> Result:
    """Score the finalists on the held-out examples, and assemble the result.

    `stopped` is why the search ended early, `paid_before` what the account had paid before it, and
    `began` where the search of a pipeline began that won against the first one given.
    """
    holdout = _held_out(plan, state)
    plan = replace(plan, pipeline=plan.pipeline.with_outputs(state.evaluator.returned()))
    final, stopped = _final_scores(state, holdout, stopped)
    withdrawn, chosen, rejected = _withdrawn(plan, state, final), state.incumbent, None
    if withdrawn is not None:
        rejected, chosen = final.tuned, state.baseline
        final = replace(final, tuned=final.baseline)
    gain = NO_GAIN if chosen == state.baseline else final.gain(final.baseline)
    if gain is None:
        raise RuntimeError("the incumbent and the baseline have no scored example in common")
    returned = plan.against is not None and chosen == state.baseline  # to the pipeline given first
    only_given = len(state.singles) < 2 and state.single_model == state.baseline
    single = None if returned or only_given else state.single_model
    scored = final.single_model if single else None
    finalists = {
        "baseline": final.baseline,
        "single_model": scored if scored and scored.scores else None,
        "tuned": final.tuned,
        "withdrawn": rejected,
    }
    evaluations = {name: each for name, each in finalists.items() if each}
    figures = {name: _figures(each, final.mean) for name, each in evaluations.items()}
    keys = [example_key(holdout.inputs(index)) for index in range(len(holdout.examples))]
    measured = HeldOutScores.of(final.tuned.scores if final.held_out else {}, keys)
    recorded = {"metric": plan.metric.name, KEPT_AS: str(measured)} if measured else {}
    scored_on, data = (holdout, plan.holdout) if final.held_out else (state.evaluator, plan.search)
    over_single = None
    if rival := evaluations.get("single_model"):
        over_single = NO_GAIN if chosen == single else final.gain(rival)
    with_config = partial(bound, plan)
    return Result(
        pipeline=with_config(chosen).with_provenance(recorded),
        start_config=None if returned or plan.against is None else began,
        config=chosen,
        withdrawn=withdrawn,
        tuned_figures=figures["tuned"],
        baseline_figures=figures["baseline"],
        single_model_figures=figures.get("single_model"),
        single_model_label=single.labels[0] if single else None,
        gain=gain,
        gain_over_single=over_single,
        held_out=final.held_out,
        held_out_scores=measured,
        points=operating_points(state, final.points, final.mean, with_config, keys),
        unproven=unproven(state, final.mean, with_config),
        examples_=scored_examples(scored_on, data.rows, evaluations),
        spent=_spent(state, paid_before or Spend()),
        stopped=stopped,
        **_facts(plan, state),
    )


def _held_out(plan: Plan, state: SearchState) -> Evaluator:
    """The evaluator of the held-out examples."""
    own = state.evaluator
    held_out = Evaluator(
        plan.pipeline, plan.models, plan.holdout, own.metric, own.session, own.concurrency
    )
    if plan.against:
        held_out.adopt(plan.against.baseline, plan.against.pipeline, {})
    return held_out


def _facts(plan: Plan, state: SearchState) -> dict[str, Any]:
    """What the result says of the search, by field."""
    set_aside = (
        f"{label} was set aside during the search: {reason}"
        for label, reason in state.evaluator.session.set_aside.items()
    )
    searched = dict.fromkeys(itertools.chain(*plan.space.models.values()))
    return {
        "baseline_config": state.baseline,
        "objective": plan.objective,
        "trials_": tuple(state.trials),
        "module_scores_": tuple(state.module_scores),
        "probes_": tuple(state.probes),
        "budget": plan.budget,
        "budget_is_default": plan.budget_is_default,
        "diagnoser": _agreements(state),
        "diagnoser_model": state.rater,
        "diagnoser_chosen": plan.diagnoser == "auto" and len(state.singles) > 1,
        "judge": state.judge,
        "left_out": (*dict.fromkeys(state.left_out.values()), *set_aside),
        "metric": plan.metric.name,
        "seed": plan.seed,
        "dataset_digest": plan.search.digest,
        "holdout_digest": plan.holdout.digest if plan.holdout else "",
        "searched": {
            "models": {label: digest_of(plan.models[label]) for label in searched},
            "stages": [stage.name for stage in plan.stages if stage.name in state.finished],
        },
        "example_inputs": _plain(state.evaluator.inputs(0)),
    }


def _withdrawn(plan: Plan, state: SearchState, final: FinalScores) -> Withdrawn | None:
    """The search's choice, if it scored below the given pipeline on the held-out examples.

    None where the cheapest is sought, which may score less, or where the given pipeline is farther
    from the limits.
    """
    objective = plan.objective
    if not final.held_out or state.incumbent == state.baseline or objective.within is not None:
        return None
    gain = final.gain(final.baseline)
    if gain is None or not is_withdrawn(gain):
        return None
    chosen, given = (max(1.0, objective.excess(e.costs)) for e in (final.tuned, final.baseline))
    if chosen < given:
        return None
    return Withdrawn(bound(plan, state.incumbent), _figures(final.tuned, final.mean), gain)


def is_withdrawn(gain: Interval) -> bool:
    """Whether this paired held-out gain withdraws the search's choice."""
    return gain.mean < 0


def _final_scores(
    state: SearchState, holdout: Evaluator, stopped: str | None
) -> tuple[FinalScores, str | None]:
    if not holdout.examples:
        return search_estimates(state), stopped
    try:
        final = score_finalists(state, holdout)
    except BudgetExhausted as exhausted:
        return search_estimates(state), f"the pass over the holdout was cut off: {exhausted}"
    if final.cut_off:
        stopped = f"the pass over the holdout was cut off {final.cut_off}"
    if not final.usable:
        return search_estimates(state), "every held-out example met an infrastructure failure"
    return final, stopped


def _figures(evaluation: Evaluation, mean: Callable[[Evaluation], Interval | None]) -> HeldOut:
    interval = mean(evaluation)
    if interval is None:
        raise RuntimeError("a finalist has no scored example")
    others = {each.name: getattr(evaluation, each.name) for each in fields(HeldOut)[2:]}
    return HeldOut(len(evaluation.scores), interval, **others)


def _plain(inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The inputs to log beside the model, in JSON; None where JSON has no form for them."""
    try:
        json.dumps(inputs)
    except (TypeError, ValueError):
        return None
    return inputs


def bound(plan: Plan, config: PipelineConfig) -> Tunable:
    """The pipeline with this config and the models that it names; the one that was given first, if
    the config is its baseline."""
    if plan.against is not None and config == plan.against.baseline:
        plan = plan.against
    used = tuple(model for label, model in plan.models.items() if label in config.labels)
    return plan.pipeline.with_config(config, used)


def _spent(state: SearchState, paid_before: Spend) -> Spent:
    session = state.evaluator.session
    paid = session.spent
    first_calls = {"check": session.tried} if session.tried.calls else {}
    spend = Spend({**session.nominal.by_purpose, **first_calls})
    return Spent(
        usd=spend.usd,
        calls=spend.calls,
        input_tokens=spend.input_tokens,
        output_tokens=spend.output_tokens,
        seconds=session.seconds,
        by_purpose=spend.by_purpose,
        paid_now_usd=paid.usd - paid_before.usd,
        paid_now_calls=paid.calls - paid_before.calls,
    )


def _agreements(state: SearchState) -> tuple[DiagnoserAgreement, ...]:
    """The agreement for every module that was rated or asked about."""
    failures = state.diagnoser.failures if state.diagnoser else {}
    asked = Counter(module for module, _ in failures)
    failed = [(module, failure) for (module, _), failure in failures.items() if failure]
    unanswered = Counter(module for module, failure in failed if failure.infrastructure)
    unread = Counter(module for module, failure in failed if not failure.infrastructure)
    truncated = Counter(module for module, failure in failed if failure.kind == "truncated")
    by_module: dict[str, list[ModuleScore]] = {}
    for score in latest_scores(state.module_scores):
        if score.rating is not None:
            by_module.setdefault(score.module, []).append(score)
    found = []
    for module in dict.fromkeys((*by_module, *sorted(asked))):
        scores = by_module.get(module, [])
        known = [(score.rating, score.measured) for score in scores
                 if score.agreement is not None and score.measured is not None]  # fmt: skip
        found.append(
            DiagnoserAgreement(
                module=module,
                agreement=scores[0].agreement if scores else None,
                judged=max((score.examples for score in scores), default=0),
                # pairs of models that differ both in rating and in measured score
                compared=sum(a[0] != b[0] and a[1] != b[1] for a, b in combinations(known, 2)),
                asked=asked[module],
                unanswered=unanswered[module],
                unread=unread[module],
                truncated=truncated[module],
            )
        )
    return tuple(found)
