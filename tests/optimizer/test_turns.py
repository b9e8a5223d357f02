"""How stages share a budget."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from optimizer.loop import take_turns
from optimizer.search.state import SearchState
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from search_spaces import SearchSpace
from tests.optimizer.runs import MODELS, tune
from tests.optimizer.searches import CHECKER, FOOL, VOTER, begun, calls

WITHOUT_GAIN = FOOL
"""No config with this model leads."""


@dataclass
class Greedy:
    """A stage that runs one config after the other, as long as the budget has room."""

    name: str
    temperature: float
    most: int = 1_000
    spent: list[int] = field(default_factory=list)
    """Calls of each turn."""

    def improve(self, state: SearchState) -> None:
        before = calls(state)
        worse = state.incumbent.with_knobs(
            "solve", models=(WITHOUT_GAIN,), temperature=self.temperature
        )
        try:
            for index in list(state.examples)[: self.most]:
                state.forecast.check([(worse, index)])
                state.evaluator.run([(worse, index)])
        finally:
            self.spent.append(calls(state) - before)


def state_with(left: int | None) -> SearchState:
    """With so many calls left for the stages."""
    everything = begun([VOTER, CHECKER, FOOL], SearchSpace(), examples=40)
    if left is None:
        return everything
    budget = Budget(calls=calls(everything) + left)
    return begun([VOTER, CHECKER, FOOL], SearchSpace(), examples=40, budget=budget)


def test_each_stage_of_the_first_turn_leaves_half_to_those_after_it() -> None:
    stages = [Greedy(name, place / 10) for place, name in enumerate("abc", start=1)]
    with pytest.raises(BudgetExhausted, match="0 of"):
        take_turns(state_with(24), stages)
    assert [stage.spent for stage in stages] == [[12], [6], [6]]


def test_what_was_cut_short_goes_on_when_later_stages_are_done() -> None:
    first, second = Greedy("a", 0.1), Greedy("b", 0.2, most=2)
    state = state_with(60)
    take_turns(state, [first, second])
    assert first.spent == [30, 10], "all 40 examples"
    assert second.spent == [2, 0]
    assert state.cut_short is None


def test_without_a_cap_nothing_is_kept_for_later() -> None:
    stage = Greedy("a", 0.1)
    take_turns(state_with(None), [stage, Greedy("b", 0.2)])
    assert stage.spent == [40]


@pytest.mark.parametrize("left", [12, 18])
def test_stages_without_a_trial_are_named(left: int) -> None:
    """With the fewer calls the budget ends before the first stage, with the others in it."""
    result = tune(stages=("allocation", "structure"), budget=Budget(calls=52 + left))
    assert str(result.stopped).endswith("; no trial of allocation, structure was run")


def test_a_stage_that_had_nothing_to_try_is_not_named() -> None:
    result = tune(stages=(Greedy("idle", 0.1, most=0), "allocation"), budget=Budget(calls=70))
    assert str(result.stopped).endswith("; no trial of allocation was run")


class Poor(Greedy):
    """A stage that would do something with more."""

    def improve(self, state: SearchState) -> None:
        state.cut_short = "a run takes 40 calls"


def test_a_stage_that_found_no_room_is_named() -> None:
    result = tune(stages=(Poor("poor", 0.1), "allocation"), budget=Budget(calls=70))
    assert "; no trial of poor, allocation was run" in str(result.stopped)


def test_a_last_stage_without_room_says_what_it_lacked() -> None:
    stages = ("allocation", Poor("poor", 0.1))
    result = tune(models=MODELS[1:], stages=stages, budget=Budget(calls=2000))
    assert result.stopped == (
        "the budget ended the search: a run takes 40 calls; no trial of poor was run"
    )
