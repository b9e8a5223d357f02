"""What the next step will take is known before it is paid for."""

from __future__ import annotations

import re
from contextlib import nullcontext
from itertools import product

import pytest

from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from search_spaces import SearchSpace
from tests.optimizer.searches import CHECKER, VOTER, begun, with_solve


@pytest.mark.parametrize("kept", [0, 8])
def test_what_is_paid_for_has_room_where_nothing_is_left(kept: int) -> None:
    state = begun([VOTER, CHECKER], SearchSpace(), examples=12, budget=Budget(calls=12 + 3))
    state.evaluator.session.protect(calls=kept)
    other, asked_thrice = (
        with_solve(state, models=(CHECKER,)),
        with_solve(state, width=3, aggregator="majority_vote"),
    )
    forecast, few = state.forecast, state.examples[:4]
    forecast.check(list(product([state.baseline], state.examples)))
    assert forecast.cost(list(product([state.baseline], state.examples)))[0] == 0
    left = f"{3 - min(kept, 3)} of 15 calls are left for the search, besides {min(kept, 3)} for"
    assert state.forecast.what_is_left().startswith(left)
    with pytest.raises(BudgetExhausted, match=left) if kept else nullcontext():
        forecast.check(list(product([other], few[:3])))
    assert forecast.cost(list(product([asked_thrice], few)))[0] == 2 * 4, (
        "the first sample is there"
    )
    with pytest.raises(BudgetExhausted, match="the next 4 examples of 2 configs would take about"):
        forecast.check(list(product([other, asked_thrice], few)))


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(usd=1, calls=13), "1 of 13 calls are left"),
        (Budget(usd=0.02, calls=500), r"\$0.01\d\d of \$0.02 are left"),
    ],
)
def test_the_cap_that_ends_first_is_named(budget: Budget, message: str) -> None:
    state = begun([VOTER, CHECKER], SearchSpace(), examples=12, budget=budget)
    assert re.match(message, state.forecast.what_is_left())


def test_no_batch_begins_when_the_seconds_are_over_though_it_calls_nothing() -> None:
    state = begun([VOTER, CHECKER], SearchSpace(), examples=12, budget=Budget(seconds=60))
    runs = list(product([state.baseline], state.examples))
    state.forecast.check(runs)
    state.evaluator.session.protect(seconds=60)
    with pytest.raises(BudgetExhausted, match="60 seconds is used up but for"):
        state.forecast.check(runs)
