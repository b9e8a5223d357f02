"""Who leads, who is the best single model, and what looked better without leading."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluators.objective import Objective
from optimizer.search.budget.reserve import Reserve
from optimizer.search.state import SearchState
from search_spaces import PipelineConfig, SearchSpace
from tests.optimizer.searches import CHECKER, FOOL, VOTER, against_given, begun, calls

MODELS = (VOTER, CHECKER, FOOL)


def state_of_singles(examples: int = 16, **options: Any) -> SearchState:
    state = begun(MODELS, SearchSpace(), examples=examples, **options)
    state.singles.update({label: state.baseline.with_models({"solve": label}) for label in MODELS})
    return state


def test_the_best_single_model_goes_by_what_it_did_alone() -> None:
    state = state_of_singles()
    state.look("single-model", list(state.singles.values()), 16)
    in_mixes = {CHECKER: 0.9, FOOL: 0.95}
    state.estimates.update({state.singles[label].key: mean for label, mean in in_mixes.items()})
    state.choose_single_model()
    assert state.single_model == state.singles[CHECKER]


def test_a_look_at_a_few_examples_does_not_replace_a_single_model_run_on_all() -> None:
    state = state_of_singles()
    state.look("single-model", list(state.singles.values()), 4)
    state.finish(state.singles[VOTER])
    state.choose_single_model()
    known, (first, *_) = state.evaluator.known, state.ranked_singles()
    assert first == state.singles[CHECKER]
    assert known(first).mean > known(state.singles[VOTER]).mean
    assert state.single_model == state.singles[VOTER]
    assert state.ablest_model.label == CHECKER


def test_a_single_model_right_on_one_example_is_not_taken_at_its_word() -> None:
    state, other = state_of_singles(), state_of_singles()
    fool = state.singles[FOOL]
    scores = other.evaluator.evaluate(fool, state.examples).scores
    state.evaluator.evaluate(fool, [next(i for i, score in scores.items() if score == 1)])
    state.evaluator.evaluate(state.singles[CHECKER], state.examples)
    assert state.evaluator.known(fool).mean == 1
    state.choose_single_model()
    assert state.single_model == state.singles[CHECKER]


class OnlyOthers(Reserve):
    """Has room for every config but the baseline."""

    def allows(self, incumbent: PipelineConfig, *more: Any, **needed: Any) -> bool:
        return incumbent != self.baseline


def test_a_candidate_that_is_likely_worse_is_not_finished() -> None:
    state = state_of_singles()
    state.reserve = OnlyOthers(**vars(state.reserve))
    fool = state.singles[FOOL]
    state.evaluator.evaluate(fool, state.examples[:8])
    arena = against_given(state, [fool])
    assert arena.posterior.mean[arena.places[(0,)]] < arena.posterior.mean[arena.places[(1,)]]
    arena.planned = 1.0  # one call more, and then it is time to finish
    state.explore("race", arena)
    assert len(state.evaluator.known(fool).outcomes) < len(state.examples)
    assert state.incumbent == state.baseline


def test_what_looked_better_and_was_not_finished_is_named() -> None:
    state = state_of_singles()
    checker = state.singles[CHECKER]
    state.look("look", [checker], 8)
    arena = against_given(state, [checker])
    state.lead(arena)
    assert state.incumbent == state.baseline, "it has not seen all examples"
    assert state.unproven() == [checker]
    state.objective = Objective(within=0.01)
    assert state.unproven() == [], "where the cheapest is sought, to be better is not enough"


def test_a_loser_is_not_unproven() -> None:
    state = state_of_singles(40)
    before = calls(state)
    state.race("race", list(state.singles.values()))
    assert calls(state) > before
    assert state.incumbent == state.singles[CHECKER]
    assert state.unproven() == []


def test_what_did_not_fit_the_budget_counts_until_another_config_leads() -> None:
    state = state_of_singles(40)
    state.cut_short = "more was wanted"
    state.race("race", [state.singles[FOOL]])
    assert state.cut_short
    state.race("race", [state.singles[CHECKER]])
    assert state.incumbent == state.singles[CHECKER]
    assert state.cut_short is None


def test_the_given_config_is_protected_against_all_and_a_single_model_against_the_dearer() -> None:
    state = state_of_singles()
    arena = against_given(state, list(state.singles.values()))
    kept = state.protected(arena)
    given = next(place for place, c in enumerate(arena.configs) if c == state.baseline)
    assert {each.candidate for each in kept} == {given}, "the others have not run"
    assert any(each.against.all() for each in kept)
    dearer = [each.against for each in kept if not each.against.all()]
    usd = arena.preference(state.objective, state.baseline).usd
    assert all((against == (usd > usd[given])).all() for against in dearer)
    state.objective = Objective(max_latency_s=1e-6)
    arena.take_in()
    [kept_on] = state.protected(arena)
    assert list(np.flatnonzero(kept_on.against)) == [kept_on.candidate] == [given], (
        "what is closer to the limits may lead"
    )
