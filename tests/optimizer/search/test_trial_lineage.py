"""Where trials depart from, and what those show that the budget cut off."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from optimizer.search.state import SearchState
from pipelines.gateway.call import BudgetExhausted
from search_spaces import PipelineConfig, SearchSpace
from tests.optimizer.made import make_probe
from tests.optimizer.searches import CHECKER, FOOL, VOTER, begun


@pytest.fixture
def state() -> SearchState:
    """Its incumbent asks a model that is right more often than not."""
    return begun([VOTER, CHECKER, FOOL], SearchSpace(), examples=16)


def solved_by(state: SearchState, label: str) -> PipelineConfig:
    return state.baseline.with_models({"solve": label})


def test_the_base_is_who_led_before(state: SearchState) -> None:
    state.turn = 1
    better, worse = solved_by(state, CHECKER), solved_by(state, FOOL)
    state.race("allocation", [state.incumbent, better])
    state.turn = 2
    state.look("allocation", [worse], 4)
    assert [(t.number, t.turn, t.base) for t in state.trials] == [
        (0, 0, None),
        (1, 1, 0),
        (2, 2, 1),
    ]
    assert [t.changed for t in state.trials] == [
        "", f"solve.model: {VOTER} -> {CHECKER}", f"solve.model: {CHECKER} -> {FOOL}",
    ]  # fmt: skip


def test_more_examples_for_the_incumbent_change_nothing(state: SearchState) -> None:
    better = solved_by(state, CHECKER)
    state.look("single-model", [better], 8)
    state.incumbent = better
    looked = state.trials[1]
    assert (looked.status, looked.examples) == ("promoted", 8)
    state.note_failed("prompts", "no prompt today")
    state.race("allocation", [better])
    failed, again = state.trials[-2:]
    assert (failed.base, again.base, again.changed) == (looked.number, looked.number, "")
    assert (again.status, again.examples) == ("complete", 16)


@pytest.mark.parametrize("end", [BudgetExhausted("no call is left"), KeyboardInterrupt()])
def test_a_trial_that_is_cut_off_shows_what_it_had_seen(
    state: SearchState, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    config, run = solved_by(state, CHECKER), state.evaluator.run

    def cut_short(runs: Sequence[tuple[PipelineConfig, int]]) -> None:
        run([(entrant, index) for entrant, index in runs if entrant == config][:5])
        if runs:
            raise end

    monkeypatch.setattr(state.evaluator, "run", cut_short)
    with pytest.raises(type(end)):
        state.race("allocation", [config, solved_by(state, FOOL)])
    (trial,) = state.trials[1:]
    assert (trial.config, trial.status, trial.examples) == (config, "cut_off", 5)
    assert trial.score is not None
    assert sum(trial.usd_by_module.values()) == pytest.approx(trial.usd_per_example)


def test_runs_that_repeat_earlier_ones_are_listed_once(state: SearchState) -> None:
    state.note_probes([make_probe()])
    state.note_probes([make_probe(turn=2, base=3), make_probe(examples=8, score=0.7)])
    assert [probe.examples for probe in state.probes] == [16, 8]
