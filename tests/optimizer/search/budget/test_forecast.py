"""What the next step will take is known before it is paid for."""

from __future__ import annotations

from itertools import product

import pytest

from pipelines.llms.budget import Budget
from pipelines.llms.call import BudgetExhausted
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
    assert forecast.has_room(list(product([state.baseline], state.examples)))
    assert forecast.cost(list(product([state.baseline], state.examples)))[0] == 0
    assert forecast.has_room(list(product([other], few[:3]))) == (kept == 0)
    assert forecast.cost(list(product([asked_thrice], few)))[0] == 2 * 4, (
        "the first sample is there"
    )
    with pytest.raises(BudgetExhausted, match="the next 4 examples of 2 configs would take about"):
        forecast.check(list(product([other, asked_thrice], few)))
