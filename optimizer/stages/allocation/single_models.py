"""The rival that needs no search: one model in all modules."""

from __future__ import annotations

from evaluators.racing.stopping import HALVING, ErrorRate
from optimizer.search.state import SearchState

STAGE = "single-model"
FIRST_RUNG = 8
"""On how many examples all of them run; then the worse half stops, and so on."""
LOOK = 32
"""On how many examples the last of them run before the search."""


def race_single_models(state: SearchState) -> None:
    """A first look at every model in all modules at once: where the search may start.

    The calls are shared with the allocation through the cache.
    """
    config = state.baseline
    state.singles.update(
        {
            label: config.with_models(dict.fromkeys(config.allocation, label))
            for label in state.space.single_models()
        }
    )
    if state.singles:
        entrants = list(state.singles.values())
        standings = state.race(STAGE, entrants, first=FIRST_RUNG, most=LOOK, patience=HALVING)
        state.single_model = state.best([s.config for s in standings if s.finished])
        state.protect_holdout()


def challenge_with_single_models(state: SearchState) -> None:
    """Let every single model race against what the search has found, until it is shown to be worse.

    The best is what a user would get without any of this, so the result is compared with it. The
    hopeless ones stop after a few examples (all run on, where a front is wanted); whoever might be
    as good runs on all of them, so that the rival is not one that looked good, or bad, on a few.
    """
    if not state.singles:
        return
    singles = list(state.singles.values())
    standings = state.race(
        STAGE,
        [state.incumbent, *singles],
        first=FIRST_RUNG,
        keep=state.incumbent,
        errors=ErrorRate(0.05, comparisons=len(singles)),
    )
    longest = max(len(s.evaluation.outcomes) for s in standings if s.config in singles)
    known = state.evaluator.known
    state.single_model = state.best([c for c in singles if len(known(c).outcomes) >= longest])
    state.protect_holdout()
