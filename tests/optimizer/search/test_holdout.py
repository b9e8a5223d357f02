"""The final pass over the holdout: in one pool, and paid for whatever ended the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import dspy
import pytest

from benchmarks.worlds import simulated_dataset
from evaluators.evaluator import Evaluator
from optimizer.search.holdout import score_finalists
from optimizer.search.state import SearchState
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, LMCall, LMReply
from search_spaces import PipelineConfig, SearchSpace
from tests.optimizer.runs import MODELS, tune
from tests.optimizer.searches import CHECKER, FOOL, VOTER, begun


def searched(calls: int | None = None) -> tuple[SearchState, Evaluator]:
    """Baseline, incumbent and best single model differ; 8 examples are held out of 16."""
    state = begun([VOTER, CHECKER, FOOL], SearchSpace(), examples=16, budget=Budget(calls=calls))
    state.incumbent, state.single_model = (
        state.baseline.with_models({"solve": label}) for label in (CHECKER, FOOL)
    )
    of = state.evaluator
    examples = of.examples[:8]
    held_out = Evaluator(of.pipeline, of.models, examples, of.metric, of.session, of.concurrency)
    state.reserve = type(state.reserve)(of, state.baseline, len(examples), True)
    return state, held_out


def test_all_finalists_run_in_one_pool() -> None:
    state, held_out = searched()
    pools: list[set[str]] = []
    run = held_out.run

    def noting(runs: Sequence[tuple[PipelineConfig, int]]) -> None:
        pools.append({config.key for config, _ in runs} - {c.key for c, *_ in held_out.history})
        run(runs)

    with patch.object(held_out, "run", noting):
        final = score_finalists(state, held_out)
    finalists = (state.baseline, state.incumbent, state.single_model)
    assert pools[0] == {config.key for config in finalists if config}
    assert not any(pools[1:]), "nothing was left to run"
    assert final.single_model is not None
    assert len(final.single_model.scores) == len(held_out.examples)


@pytest.mark.parametrize("beyond", [0, 5, 8])
def test_baseline_and_incumbent_come_first_where_not_all_can_be_paid(beyond: int) -> None:
    state, held_out = searched(16 + 8 + beyond)  # the baseline's answers are paid for
    final = score_finalists(state, held_out)
    assert len(final.baseline.scores) == len(final.tuned.scores) == 8
    assert (final.single_model is not None) == (beyond == 8)


@pytest.mark.parametrize(("lead", "single", "passes"), [
    (VOTER, None, 2), (VOTER, VOTER, 2), (VOTER, FOOL, 3), (FOOL, FOOL, 3), (CHECKER, FOOL, 3),
    (CHECKER, VOTER, 2),
])  # fmt: skip
def test_what_is_kept_is_for_the_baseline_what_leads_and_another_single_model(
    lead: str, single: str | None, passes: int
) -> None:
    state, _ = searched(200)
    state.incumbent = state.baseline.with_models({"solve": lead})
    state.single_model = state.baseline.with_models({"solve": single}) if single else None
    state.waited_s, state.paid_calls = 3.0, 2
    with patch.object(state.evaluator.session, "protect") as kept:
        state.protect_holdout()
    _, calls, seconds = kept.call_args.args
    each = 8 + 1  # one may be asked again, since its reply can't be read
    assert (calls, seconds) == (each * passes, 1.5 * each * passes)
    finalists = state.reserve.payable(state.incumbent, state.other_finalists())
    assert len(finalists) == len({VOTER, lead, single or VOTER})


@pytest.mark.parametrize("calls", [330, 500])
def test_all_points_of_a_front_are_paid_for_on_the_holdout(calls: int) -> None:
    rows = simulated_dataset("locate_solve", 40, rows=4)
    tuning: Any = {"objective": "pareto", "holdout": 0.7, "diagnoser": None}
    result = tune(rows, MODELS, budget=Budget(calls=calls), **tuning)
    assert len(result.points) > 1
    assert {point.measured_on for point in result.points} == {"holdout"}


@pytest.mark.parametrize(("asked", "counts"), [(24, True), (8, False)])
def test_a_pass_that_is_cut_off_counts_by_its_pairs(
    asked: int, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baseline and incumbent take turns, so that what was run is comparable."""
    state = begun([VOTER, CHECKER], SearchSpace(), examples=40, concurrency=1)
    state.incumbent = state.baseline.with_models({"solve": CHECKER})
    of = state.evaluator
    rows = simulated_dataset("arithmetic", 20, 2)
    examples = [dspy.Example(**row) for row in rows]
    held_out = Evaluator(of.pipeline, of.models, examples, of.metric, of.session, 1)
    made = of.session.nominal.calls
    complete = of.session.complete

    def until_the_time_is_over(call: LMCall) -> LMReply:
        if of.session.nominal.calls >= made + asked:
            raise BudgetExhausted("the seconds are used up")
        return complete(call)

    monkeypatch.setattr(of.session, "complete", until_the_time_is_over)
    if not counts:
        with pytest.raises(BudgetExhausted):
            score_finalists(state, held_out)
        return
    final = score_finalists(state, held_out)
    assert final.tuned.outcomes.keys() == final.baseline.outcomes.keys() == set(range(12))
    assert final.cut_off == "after 12 of 20 examples: the seconds are used up"
    assert final.gain(final.baseline) is not None
