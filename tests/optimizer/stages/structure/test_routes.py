"""Routes learned from paid answers: what they promise is what they do, and only gains lead."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from evaluators.objective import QUALITY, Objective
from optimizer.search.state import SearchState
from optimizer.stages.structure import routes
from optimizer.stages.structure.routes import learned_routes
from optimizer.stages.structure.stage import Structure
from pipelines import Module, Pipeline
from pipelines.aggregators import Route, aggregator
from search_spaces import AggregatorConfig, PipelineConfig, SearchSpace
from tests.optimizer.searches import begun, calls, knobs_of, with_solve

BACKWARDS, CIPHER, POOR = "sim/route-backwards", "sim/route-cipher", "sim/route-poor"
SPACE = SearchSpace(width=(1, 3), temperature=(), aggregator=("route",))
SORTED = Pipeline("sorted", [Module("solve", "question, kind, noise -> answer", temperature=0.0)])


@pytest.fixture(autouse=True)
def specialists() -> None:
    """Two models that are each good at one kind of question, and one that is worse at both."""
    for name, skills in (
        (BACKWARDS, {"reverse": 0.95, "caesar": 0.3}),
        (CIPHER, {"reverse": 0.4, "caesar": 0.9}),
        (POOR, {"reverse": 0.2, "caesar": 0.2}),
    ):
        register(SimulatedModel(name.removeprefix("sim/"), skills), replace=True)


def rows(each: int = 40, seed: int = 1) -> list[dict[str, str]]:
    """Questions of two kinds, and a column that tells nothing."""
    rng = random.Random(seed)
    kinds = {"Backwards": "reverse", "cipher": "caesar"}
    made = [
        {**row, "kind": kind, "noise": rng.choice("xyz")}
        for kind, family in kinds.items()
        for row in simulated_dataset(family, each, seed)
    ]
    rng.shuffle(made)
    return made


def with_singles(
    models: Sequence[str] = (CIPHER, BACKWARDS, POOR),
    space: SearchSpace = SPACE,
    objective: Objective = QUALITY,
) -> SearchState:
    """Every model has answered every example by itself."""
    state = begun(models, space, rows(), pipeline=SORTED, objective=objective)
    state.look("singles", [with_solve(state, models=(label,)) for label in models], 80)
    return state


def found(state: SearchState, done: set[str] | None = None) -> list[PipelineConfig]:
    learned = learned_routes(state, knobs_of(state), "solve", set() if done is None else done)
    return [each.config for each in learned]


def params(config: PipelineConfig) -> dict[str, Any]:
    aggregation = config.modules["solve"].aggregation
    assert aggregation is not None
    assert aggregation.name == "route"
    return aggregation.params


def test_the_rates_by_kind_are_learned_without_a_call() -> None:
    state = with_singles()
    before = calls(state)
    done: set[str] = set()
    (route,) = found(state, done)
    assert calls(state) == before
    learned, labels = params(route), route.modules["solve"].labels
    assert learned["by"] == "kind"
    best = {value: labels[int(np.argmax(rates))] for value, rates in learned["rates_by"].items()}
    assert best == {"backwards": BACKWARDS, "cipher": CIPHER}
    alone = {m: state.evaluator.known(with_solve(state, models=(m,))).mean for m in labels}
    assert learned["rates"] == [round(alone[label], 2) for label in labels]
    assert found(state, done) == [], "nothing new was answered"


def replays(state: SearchState) -> Iterator[tuple[PipelineConfig, Route, int, routes.Answered]]:
    knobs = knobs_of(state)
    for _, answered in routes._answered(state, knobs, "solve", set()):
        for kind in routes._kinds(state, knobs, "solve", answered):
            module = answered.config(kind)
            assert module.aggregation is not None
            made = aggregator(module.aggregation)
            assert isinstance(made, Route)
            yield state.incumbent.with_module("solve", module), made, kind.width, answered


def test_what_is_worked_out_is_what_a_run_gives() -> None:
    state = with_singles(objective=Objective(within=0.01))
    before, asked = calls(state), set()
    for config, route, width, answered in replays(state):
        known = state.evaluator.evaluate(config, answered.examples)
        for place, index in enumerate(answered.examples):
            outcome = known.outcomes[index]
            expected = (outcome.score, outcome.usd, outcome.latency_s)
            assert answered.replayed(route, width, place) == pytest.approx(expected)
            asked.add(outcome.calls)
    assert asked >= {1, 2, 3}, "some are asked on"
    assert calls(state) == before


def test_rates_are_scored_on_examples_that_they_were_not_learned_from() -> None:
    state = with_singles()
    (answered,) = (each for _, each in routes._answered(state, knobs_of(state), "solve", set()))
    kind = routes.Kind(3, "noise", 0.0, 0.0)
    changed = list(answered.runs)
    changed[7] = [replace(run, score=1.0 - run.score) for run in changed[7]]
    other = replace(answered, runs=changed)
    before, after = answered.cross_fitted(kind), other.cross_fitted(kind)
    fold = [place for place in range(80) if place % routes.FOLDS == 7 % routes.FOLDS]
    same = [place for place in fold if place != 7]
    assert (before[same] == after[same]).all(), "its own fold is ruled by the others' answers"
    assert before[7, 0] == 1 - after[7, 0]


def test_a_field_that_tells_nothing_or_has_too_many_values_is_not_used() -> None:
    state = with_singles()
    (answered,) = (each for _, each in routes._answered(state, knobs_of(state), "solve", set()))
    assert answered.fields == ["kind", "noise"]
    (route,) = found(state)
    assert params(route)["by"] == "kind"


def test_nothing_is_proposed_where_one_model_is_best_at_everything() -> None:
    assert found(with_singles([BACKWARDS, POOR])) == []


def test_nothing_is_proposed_unless_the_space_has_routes() -> None:
    space = SPACE.model_copy(update={"aggregator": ("majority_vote",)})
    assert found(with_singles(space=space)) == []


def test_parameters_that_the_space_gives_are_kept() -> None:
    fixed = AggregatorConfig(name="route", params={"by": "kind", "until": 0.7})
    space = SPACE.model_copy(update={"aggregator": (fixed,)})
    (route,) = found(with_singles(space=space))
    assert params(route)["until"] == 0.7
    assert params(route)["by"] == "kind"


def test_where_models_must_be_distinct_no_model_is_twice_in_a_route() -> None:
    for distinct in (False, True):
        space = SPACE.model_copy(update={"distinct_models": distinct})
        state = begun([CIPHER, BACKWARDS], space, rows(), pipeline=SORTED)
        others = [with_solve(state, models=(BACKWARDS,)), with_solve(state, temperature=0.5)]
        state.look("others", others, 80)
        ((_, answered),) = routes._answered(state, knobs_of(state), "solve", set())
        assert len(answered.members) == (2 if distinct else 3)


def test_it_leads_a_search_and_does_so_on_new_questions() -> None:
    state = with_singles()
    Structure().improve(state)
    assert params(state.incumbent)["by"] == "kind"
    fresh = begun([CIPHER, BACKWARDS, POOR], SPACE, rows(60, seed=2), pipeline=SORTED)
    single = fresh.evaluator.evaluate(fresh.baseline, fresh.examples).mean
    routed = fresh.evaluator.evaluate(state.incumbent, fresh.examples).mean
    assert routed > single + 0.1


def test_for_a_promising_route_members_are_asked_on() -> None:
    """One was dropped after 32 examples, another after 64."""
    state = begun([CIPHER, BACKWARDS, POOR], SPACE, rows(), pipeline=SORTED)
    alone = {label: with_solve(state, models=(label,)) for label in (CIPHER, BACKWARDS, POOR)}
    state.look("singles", [alone[BACKWARDS]], 64)
    state.look("singles", [alone[POOR]], 32)
    (learned,) = learned_routes(state, knobs_of(state), "solve", set())
    assert learned.size == 64
    assert learned.members == [alone[BACKWARDS], alone[CIPHER]]
    assert learned.others == [alone[POOR]]
    Structure().improve(state)
    assert params(state.incumbent)["by"] == "kind"
    assert state.seen(alone[POOR]) >= 64
    assert {state.seen(alone[label]) for label in state.incumbent.modules["solve"].labels} == {80}


def test_members_of_a_vote_count_as_asked_by_themselves() -> None:
    state = begun([CIPHER, BACKWARDS, POOR], SPACE, rows(), pipeline=SORTED)
    vote = with_solve(state, models=(CIPHER, BACKWARDS, POOR), width=3, aggregator="majority_vote")
    state.look("vote", [vote], 80)
    before = calls(state)
    (route,) = found(state)
    assert set(route.modules["solve"].labels) >= {CIPHER, BACKWARDS}
    assert calls(state) == before


def test_an_input_of_an_unknown_kind_takes_the_rates_for_all_and_is_noted() -> None:
    state = with_singles()
    (route,) = found(state)
    program = state.evaluator.program(route)
    question = {"question": "Reverse the word: planet", "noise": "x"}
    (known,) = program.run({**question, "kind": "backwards"}).steps
    (unknown,) = program.run({**question, "kind": "riddle"}).steps
    assert known.members_failed == ()
    assert [failure.kind for failure in unknown.members_failed] == ["no_route"]
    assert unknown.outputs is not None


def test_it_is_saved_with_the_pipeline(tmp_path: Path) -> None:
    (route,) = found(with_singles())
    tuned = SORTED.with_config(route, models=[])
    tuned.save(tmp_path / "tuned.yaml")
    loaded = Pipeline.load(tmp_path / "tuned.yaml")
    question = {"question": "Reverse the word: planet", "kind": "Backwards", "noise": "x"}
    assert loaded(**question).answer == tuned(**question).answer == "tenalp"
    assert "backwards:" in (tmp_path / "tuned.yaml").read_text(encoding="utf-8")
