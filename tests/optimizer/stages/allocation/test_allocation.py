"""The search itself, on simulated models: what it finds, what it pays, and what it drops."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.worlds import MODELS as BUILT_IN
from benchmarks.worlds import simulated_dataset
from evaluators.diagnosis.diagnoser import Diagnoser, Diagnosis
from optimizer.loop import begin, diagnoser_of, search, start_search
from optimizer.search.state import SearchState
from optimizer.search.strategies.halving import Halving
from optimizer.setup.plan import Plan, prepare
from optimizer.stages.allocation.single_models import look_at_single_models, needs_comparison
from optimizer.stages.allocation.stage import Allocation
from optimizer.stages.resolver import resolve_stages
from pipelines import Pipeline
from pipelines.aggregators.calls import calls_per_run
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import Gateway
from pipelines.patterns import locate_solve, majority_vote

MODELS = ["sim/elm", "sim/alder", "sim/birch", "sim/larch"]


def planned(diagnoser: str | None = "auto", examples: int = 40) -> Plan:
    rows = simulated_dataset("locate_solve", examples, 1)
    return prepare(
        locate_solve(),
        rows,
        MODELS,
        stages=resolve_stages("allocation"),
        diagnoser=diagnoser,
        holdout=0.0,
    )


def searched(plan: Plan, concurrency: int = 8) -> SearchState:
    state = start_search(plan, Gateway(None).session("study"), concurrency)
    begin(state)
    search(state, plan)
    return state


@pytest.mark.parametrize("diagnoser", ["auto", None])
def test_finds_the_mix_that_no_single_model_is(diagnoser: str | None) -> None:
    state = searched(planned(diagnoser))
    best = {"locate": ("sim/alder",), "solve": ("sim/birch",)}
    everything = [state.baseline.with_models(each) for each in state.space.allocations()]
    means = {c.key: state.evaluator.evaluate(c, state.examples).mean for c in everything}
    assert means[state.incumbent.key] >= max(means.values()) - 0.01
    assert state.incumbent.allocation == best


def test_takes_the_same_path_at_another_concurrency() -> None:
    one, other = (searched(planned(), concurrency) for concurrency in (2, 16))
    assert [t.config.key for t in one.trials] == [t.config.key for t in other.trials]
    assert one.evaluator.session.nominal == other.evaluator.session.nominal


def test_what_leads_is_better_than_the_best_single_model() -> None:
    state = searched(planned())
    assert state.single_model in state.singles.values()
    assert state.single_model is not None
    single, leads = map(state.evaluator.known, (state.single_model, state.incumbent))
    assert not needs_comparison(state, state.single_model)
    common = single.scores.keys() & leads.scores.keys()
    assert leads.on(common).mean > single.on(common).mean + 0.2


def test_only_trials_on_all_search_examples_are_complete() -> None:
    state = searched(planned())
    statuses = {(t.status, t.examples == len(state.examples)) for t in state.trials}
    assert statuses == {("complete", True), ("stopped_early", False), ("promoted", False)}


class Inverted(Diagnoser):
    """Prefers what the other rejects."""

    def diagnose(self, *given: Any, **named: Any) -> Diagnosis | None:
        found = super().diagnose(*given, **named)
        return found and Diagnosis(tuple(1 - rating for rating in found.ratings), found.reason)


def test_a_diagnoser_that_is_always_wrong_is_not_believed_and_does_no_harm() -> None:
    plan = planned()
    state = start_search(plan, Gateway(None).session("study"), 8)
    state.race("baseline", [state.baseline])
    look_at_single_models(state)
    model = plan.models["sim/elm"]
    state.diagnoser = Inverted(model, plan.pipeline, state.evaluator.session)
    Allocation().improve(state)
    scores = {s.model: s for s in state.module_scores if s.module == "locate"}
    best, worst = scores["sim/alder"], scores["sim/larch"]
    assert best.rating is not None
    assert worst.rating is not None
    assert best.rating < worst.rating, "it prefers what is worse"
    assert best.agreement is not None
    assert best.agreement < 0.5
    assert state.incumbent.allocation == {"locate": ("sim/alder",), "solve": ("sim/birch",)}


def test_every_vote_of_solvers_that_have_answered_is_scored_without_a_call() -> None:
    rows = simulated_dataset("arithmetic", 40, 1)
    plan = prepare(majority_vote(), rows, MODELS, stages=resolve_stages("allocation"), holdout=0.0)
    state = start_search(plan, Gateway(None).session("study"), 8)
    solvers = list(state.space.models)
    for label in MODELS:
        single = state.baseline.with_models(dict.fromkeys(solvers, label))
        state.evaluator.evaluate(single, state.examples)
    paid = state.evaluator.session.nominal.calls
    every = [state.baseline.with_models(each) for each in state.space.allocations()]
    free = state.enumerate_paid(every, len(state.examples))
    assert state.evaluator.session.nominal.calls == paid
    assert len(free) == len(every) == len(MODELS) ** len(solvers)
    means = [state.evaluator.known(config).mean for config in free]
    assert means == sorted(means, reverse=True)


def test_what_has_an_answer_to_pay_for_is_not_scored_for_free() -> None:
    state = start_search(planned(None), Gateway(None).session("study"), 8)
    state.race("baseline", [state.baseline])
    every = [state.baseline.with_models(each) for each in state.space.allocations()]
    assert state.enumerate_paid(every, 8) == [state.baseline]
    assert state.evaluator.session.nominal.calls == calls_per_run(state.baseline) * len(
        state.examples
    )


@pytest.mark.parametrize("strategy", ["llmselector", "halving", "random", "tpe", "exhaustive"])
def test_every_strategy_finds_a_better_mix_and_only_leads_when_complete(strategy: str) -> None:
    plan = planned()
    state = start_search(plan, Gateway(None).session("study"), 8)
    state.race("baseline", [state.baseline])
    look_at_single_models(state)
    state.diagnoser = diagnoser_of(plan, state)
    Allocation(strategy).improve(state)
    known = state.evaluator.known
    assert known(state.incumbent).mean > known(state.baseline).mean + 0.2
    assert len(known(state.incumbent).scores) == len(state.examples)


def test_halving_runs_the_last_candidate_on_all_examples_within_a_budget() -> None:
    state = start_search(planned(None), Gateway(None).session("study", Budget(calls=240)), 8)
    state.race("baseline", [state.baseline])
    Allocation("halving").improve(state)
    assert state.incumbent != state.baseline
    assert state.is_complete(state.incumbent)


@pytest.mark.parametrize("strategy", ["llmselector", "default"])
def test_what_an_aggregator_asks_is_allocated_without_ratings(strategy: str) -> None:
    locate, solve = locate_solve().modules
    wide = replace(solve, model="2x sim/birch -> judge(sim/alder)", temperature=0.7)
    plan = prepare(
        Pipeline("wide", [locate, wide]),
        simulated_dataset("locate_solve", 12, 1),
        [f"sim/{model.name}" for model in BUILT_IN[:7]],
        stages=resolve_stages("allocation"),
        diagnoser="sim/elm",
        holdout=0.0,
    )
    state = start_search(plan, Gateway(None).session("study", Budget(calls=900)), 8)
    state.race("baseline", [state.baseline])
    state.diagnoser = diagnoser_of(plan, state)
    with contextlib.suppress(BudgetExhausted):
        Allocation(strategy).improve(state)
    rated = {score.module for score in state.module_scores if score.rating is not None}
    assert "solve.judge" in {score.module for score in state.module_scores}
    assert rated == {"locate", "solve"}


@pytest.mark.parametrize("strategy", ["halfing", Halving()])
def test_what_names_no_strategy_is_refused(strategy: Any) -> None:
    with pytest.raises(ValueError, match=r"there is no strategy .*; nearest: 'halving'"):
        Allocation(strategy)
