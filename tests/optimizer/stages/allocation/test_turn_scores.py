"""What a search leaves of its module scores, on simulated models."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.worlds import simulated_dataset
from evaluators.statistics import mean_interval
from optimizer.loop import begin, search, start_search
from optimizer.search.records.module_score import ModuleScore
from optimizer.search.state import SearchState
from optimizer.search.strategies.posterior_search import RATED
from optimizer.setup.plan import prepare
from optimizer.stages.resolver import resolve_stages
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.patterns import locate_solve

MODELS = ["sim/elm", "sim/alder", "sim/birch", "sim/larch"]


def searched(diagnoser: str | None = "auto", budget: Budget | None = None) -> SearchState:
    plan = prepare(
        locate_solve(),
        simulated_dataset("locate_solve", 40, 1),
        MODELS,
        stages=resolve_stages("allocation"),
        diagnoser=diagnoser,
        holdout=0.0,
    )
    state = start_search(plan, Gateway(None).session("study", budget), 8)
    begin(state)
    search(state, plan)
    return state


@pytest.fixture(scope="module")
def state() -> SearchState:
    return searched()


def scores_of(state: SearchState, turn: int) -> dict[tuple[str, str], ModuleScore]:
    return {(s.module, s.model): s for s in state.module_scores if s.turn == turn}


def test_every_model_of_every_module_is_scored_once_in_the_first_turn(state: SearchState) -> None:
    everyone = [(module, label) for module in ("locate", "solve") for label in MODELS]
    assert [(s.module, s.model) for s in state.module_scores if s.turn == 1] == everyone
    assert all(s.rating is not None and 0 <= s.rating <= 1 for s in state.module_scores)
    assert {s.examples for s in state.module_scores} == {RATED}


def test_the_decisions_are_those_that_the_turn_took(state: SearchState) -> None:
    first = scores_of(state, 1)
    for module, labels in state.incumbent.allocation.items():
        now = [label for label in MODELS if first[module, label].decision in ("kept", "chosen")]
        assert now == list(labels)
    assert first["locate", "sim/alder"].decision == "chosen"
    assert first["solve", "sim/birch"].decision == "chosen"
    assert first["locate", "sim/larch"].decision == "eliminated"


def test_the_measured_score_is_the_estimate_for_the_incumbent_with_the_model(
    state: SearchState,
) -> None:
    for score in scores_of(state, 1).values():
        config = state.incumbent.with_models({score.module: score.model})
        known = state.evaluator.known(config)
        assert score.measured is not None
        if len(known.scores) == len(state.examples):
            assert score.measured == pytest.approx(known.mean, abs=0.05)
        if len(known.scores) >= 20:
            assert score.measured == pytest.approx(known.mean, abs=0.1)


def test_a_few_equal_scores_do_not_look_certain(state: SearchState) -> None:
    best = scores_of(state, 1)["locate", "sim/alder"]
    interval = mean_interval([1.0] * 4)
    assert best.measured_se is not None
    assert 0 < best.measured_se < (interval.high - interval.low) / 2


def test_runs_of_single_modules_are_listed(state: SearchState) -> None:
    first = {(p.module, p.model): p for p in state.probes if p.turn == 1}
    assert {probe.kind for probe in state.probes} == {"module"}
    for score in scores_of(state, 1).values():
        assert first[score.module, score.model].examples >= score.examples
    assert all(probe.usd > 0 and probe.base is not None for probe in state.probes)


def test_without_a_diagnoser_only_what_was_measured_is_known() -> None:
    state = searched(diagnoser=None)
    assert state.probes == []
    assert {score.rating for score in state.module_scores} == {None}
    assert {score.examples for score in state.module_scores} == {0}
    best = scores_of(state, 1)["solve", "sim/birch"]
    assert best.decision in ("kept", "chosen")
    assert best.measured is not None


def test_a_search_that_is_cut_off_keeps_the_ratings_that_it_paid_for() -> None:
    state = searched(budget=Budget(calls=160))
    decisions = {(s.module, s.model): s.decision for s in state.module_scores if s.examples}
    assert decisions["locate", "sim/elm"] == "kept"
    assert decisions["solve", "sim/birch"] == "promising"
    assert len(decisions) == len(state.probes) == 8


@pytest.mark.parametrize("mixed", [("solve",), ("locate", "solve")])
def test_modules_whose_members_differ_are_named_where_they_are_left_out(
    mixed: tuple[str, ...],
) -> None:
    plan = prepare(
        locate_solve(),
        simulated_dataset("locate_solve", 4, 1),
        MODELS,
        stages=resolve_stages("allocation"),
        holdout=0.0,
    )
    wide = plan.baseline
    for module in mixed:
        wide = wide.with_knobs(
            module, models=tuple(MODELS[:3]), width=3, aggregator="majority_vote"
        )
    state = start_search(replace(plan, baseline=wide), Gateway(None).session("study", None), 8)
    begin(state)
    search(state, plan)
    left = [(s.module, s.model) for s in state.module_scores if s.decision == "members differ"]
    assert left == [(module, label) for module in mixed for label in MODELS[:3]]
