"""What the next step will take is known before it is paid for."""

from __future__ import annotations

import pytest

from pipelines.llms.budget import Budget
from pipelines.llms.call import BudgetExhausted
from search_spaces import SearchSpace
from tests.optimizer.studies import CHECKER, VOTER, begun, with_solve


@pytest.mark.parametrize("kept", [0, 8])
def test_what_is_paid_for_has_room_where_nothing_is_left(kept: int) -> None:
    study = begun([VOTER, CHECKER], SearchSpace(), examples=12, budget=Budget(calls=12 + 3))
    study.evaluator.session.protect(calls=kept)
    other, asked_thrice = (
        with_solve(study, models=(CHECKER,)),
        with_solve(study, width=3, aggregator="majority_vote"),
    )
    few = study.examples[:4]
    assert study.forecast.has_room([study.baseline], study.examples)
    assert study.forecast.calls([study.baseline], study.examples) == 0
    assert study.forecast.has_room([other], few[:3]) == (kept == 0)
    assert study.forecast.calls([asked_thrice], few) == 2 * 4, "the first sample is there"
    with pytest.raises(BudgetExhausted, match="the next 4 examples of 2 configs would take about"):
        study.forecast.check([other, asked_thrice], few)
