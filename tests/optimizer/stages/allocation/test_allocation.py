"""The search itself, on simulated models: what it finds, what it pays, and what it drops."""

from __future__ import annotations

from typing import Any

import pytest

from evaluators.diagnosis.diagnoser import Diagnoser, Diagnosis
from optimizer.loop import search, start_search
from optimizer.search.state import SearchState
from optimizer.setup.plan import Plan, prepare
from optimizer.stages.allocation.module_scores import ModuleScores
from optimizer.stages.allocation.single_models import race_single_models
from optimizer.stages.allocation.stage import Allocation, already_paid, rescuers
from optimizer.stages.resolver import resolve_stages
from pipelines import ModuleStep
from pipelines.aggregators.calls import calls_per_run
from pipelines.llms.gateway import Gateway
from pipelines.llms.simulated import simulated_dataset
from pipelines.patterns import locate_solve, majority_vote

MODELS = ["sim/elm", "sim/alder", "sim/birch", "sim/larch"]


def planned(diagnoser: str | None = "auto", examples: int = 40) -> Plan:
    rows = simulated_dataset("locate_solve", examples, 1)
    return prepare(
        locate_solve(), rows, MODELS, "exact_match", None, None,
        resolve_stages("allocation"), diagnoser, 0.0, 0,
    )  # fmt: skip


def searched(plan: Plan, concurrency: int = 8) -> SearchState:
    state = start_search(plan, Gateway(None).session("study"), concurrency)
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


def test_the_best_single_model_is_raced_until_shown_to_be_worse() -> None:
    state = searched(planned())
    assert state.single_model in state.singles.values()
    for config in state.singles.values():
        seen = state.evaluator.known(config)
        found = state.evaluator.known(state.incumbent)
        wins = sum(found.scores[i] - s for i, s in seen.scores.items() if i in found.scores)
        assert wins >= 4 or len(seen.outcomes) == len(state.examples)


def test_only_trials_on_all_search_examples_are_complete() -> None:
    state = searched(planned())
    statuses = {(t.status, t.examples == len(state.examples)) for t in state.trials}
    assert statuses == {("complete", True), ("stopped_early", False), ("promoted", False)}


def test_rescues_are_tried_on_what_the_incumbent_fails_and_count_for_nothing_else() -> None:
    plan = planned(None)
    state = start_search(plan, Gateway(None).session("study"), 8)
    state.race("baseline", [state.baseline])
    good = state.baseline.with_models({"locate": "sim/alder", "solve": "sim/birch"})
    assert rescuers(state, [good, state.baseline]) == [good]
    assert not state.evaluator.known(good).outcomes


def test_the_diagnosers_own_model_is_neither_dropped_nor_the_measure() -> None:
    scores = ModuleScores("solve", ["own", "a", "b", "c"], judge="own")
    for index in range(8):
        for label, rating in {"own": 1.0, "a": 0.7 + index % 2 / 5, "b": 0.8, "c": 0.1}.items():
            scores.note(label, index, _step(), rating)
    scores.drop(3)
    assert scores.promising[0] != "own"
    assert set(scores.promising) == {"own", "a", "b"}


class Inverted(Diagnoser):
    """Prefers what the other rejects."""

    def diagnose(self, *given: Any, **named: Any) -> Diagnosis | None:
        found = super().diagnose(*given, **named)
        return found and Diagnosis(tuple(1 - rating for rating in found.ratings), found.reason)


def test_a_diagnoser_that_is_always_wrong_is_not_believed_and_does_no_harm() -> None:
    plan = planned()
    state = start_search(plan, Gateway(None).session("study"), 8)
    state.race("baseline", [state.baseline])
    race_single_models(state)
    model = plan.models["sim/elm"]
    state.diagnoser = Inverted(model, plan.pipeline, state.evaluator.session)
    Allocation().improve(state)
    agreement = state.judgements.agreement
    assert agreement["solve"].discordant > agreement["solve"].concordant
    assert all(found.may_drop(len(MODELS)) == 0 for found in agreement.values())
    assert state.incumbent.allocation == {"locate": ("sim/alder",), "solve": ("sim/birch",)}


def test_every_vote_of_solvers_that_have_answered_is_scored_without_a_call() -> None:
    rows = simulated_dataset("arithmetic", 40, 1)
    plan = prepare(
        majority_vote(),
        rows,
        MODELS,
        "exact_match",
        None,
        None,
        resolve_stages("allocation"),
        None,
        0.0,
        0,
    )
    state = start_search(plan, Gateway(None).session("study"), 8)
    solvers = list(state.space.models)
    for label in MODELS:
        single = state.baseline.with_models(dict.fromkeys(solvers, label))
        state.evaluator.evaluate(single, state.examples)
    paid = state.evaluator.session.nominal.calls
    size = len(state.examples)
    free = already_paid(state, state.space.models, size)
    assert state.evaluator.session.nominal.calls == paid
    every = [state.baseline.with_models(each) for each in state.space.allocations()]
    means = {c.key: state.evaluator.evaluate(c, state.examples).mean for c in every}
    assert state.evaluator.session.nominal.calls == paid
    assert means[free[0].key] == max(means.values())
    assert 1 < len(free) < len(every) == len(MODELS) ** len(solvers)
    assert already_paid(state, state.space.models, size) == free


def test_what_has_an_answer_to_pay_for_is_not_scored_for_free() -> None:
    state = start_search(planned(None), Gateway(None).session("study"), 8)
    state.race("baseline", [state.baseline])
    assert already_paid(state, state.space.models, 8) == [state.baseline]
    assert state.evaluator.session.nominal.calls == calls_per_run(state.baseline) * len(
        state.examples
    )


def _step() -> ModuleStep:
    return ModuleStep("solve", {"task": "1 + 1"}, {"answer": "2"}, (), 0.0)
