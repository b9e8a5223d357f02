"""Whatever the budget, the result has earned its place, and the holdout is paid."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.worlds import simulated_dataset
from evaluators.objective import Objective
from optimizer import BudgetTooSmall
from pipelines.gateway.budget import Budget
from tests.optimizer.runs import MODELS, tune

ROWS = simulated_dataset("locate_solve", 14, rows=3)
SEARCHED, HELD_OUT = 10, 4
FINAL_PASS, STEP = 2 * HELD_OUT + 2, 32
"""Calls of one config's final pass, of which two are kept for what may lead, and some to ask again;
and of the largest step: a race of six configs on five further examples."""
FEWEST, AMPLE = 30, 260
"""Calls that hardly pay for the baseline, and that pay for a whole search."""


@settings(max_examples=10)
@given(
    calls=st.integers(FEWEST, AMPLE),
    objective=st.sampled_from([Objective(), Objective(pareto=True), Objective(within=0.05)]),
    stages=st.sampled_from([("allocation",), ("allocation", "structure")]),
    seed=st.integers(0, 3),
)
def test_the_result_has_earned_its_place_and_the_holdout_is_paid(
    calls: int, objective: Objective, stages: tuple[str, ...], seed: int
) -> None:
    cap = Budget(calls=calls)
    try:
        result = tune(ROWS, MODELS, budget=cap, objective=objective, stages=stages, seed=seed)
    except BudgetTooSmall:
        assert calls < 100
        return
    assert result.held_out, result.stopped
    assert result.tuned_figures.examples == result.baseline_figures.examples == HELD_OUT
    assert result.spent.calls <= calls
    if result.stopped and not objective.pareto and stages == ("allocation",):
        assert calls - result.spent.calls < 2 * FINAL_PASS + STEP, result.stopped
    last = {trial.config.key: trial for trial in result.trials_}
    chosen = last.get(result.config.key)
    assert result.config == result.baseline_config or (chosen and chosen.status == "complete")
    assert chosen is None or chosen.examples == SEARCHED
    if result.withdrawn is not None:
        assert last[result.withdrawn.config.key].status == "complete"
