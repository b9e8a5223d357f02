"""What the baseline and the final pass will take, by the calls made so far."""

from __future__ import annotations

import pytest

from optimizer.errors import BudgetTooSmall
from optimizer.search.preflight.baseline import race_baseline
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import LMCall
from search_spaces import SearchSpace
from tests.optimizer.searches import CHECKER, VOTER, begun


def test_calls_of_no_run_do_not_count_towards_what_runs_take() -> None:
    needs = []
    for asked in (False, True):
        state = begun([VOTER, CHECKER], SearchSpace(), examples=20)
        if asked:
            model, question = state.evaluator.models[VOTER], {"role": "user", "content": "Hello"}
            state.evaluator.session.complete(LMCall(model, (question,), purpose="check"))
        state.evaluator.session.budget = Budget(usd=1e-6)
        with pytest.raises(BudgetTooSmall) as raised:
            race_baseline(state)
        needs.append(str(raised.value).partition("takes about ")[2].partition(" ")[0])
    assert needs[0].startswith("$")
    assert needs[0] == needs[1]
