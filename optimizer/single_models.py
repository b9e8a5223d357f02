"""The rival that needs no search: one model in all modules."""

from __future__ import annotations

from evaluators.stopping import HALVING, ErrorRate
from optimizer.study import Study

STAGE = "single-model"
FIRST_RUNG = 8
"""On how many examples all of them run; then the worse half stops, and so on."""
LOOK = 32
"""On how many examples the last of them run before the search."""


def race_single_models(study: Study) -> None:
    """A first look at every model in all modules at once: where the search may start.

    The calls are shared with the allocation through the cache.
    """
    config = study.baseline
    study.singles.update(
        {
            label: config.with_models(dict.fromkeys(config.allocation, label))
            for label in study.space.single_models()
        }
    )
    if study.singles:
        entrants = list(study.singles.values())
        standings = study.race(STAGE, entrants, first=FIRST_RUNG, most=LOOK, patience=HALVING)
        study.single_model = study.best([s.config for s in standings if s.finished])
        study.protect_holdout()


def challenge_with_single_models(study: Study) -> None:
    """Let every single model race against what the search has found, until it is shown to be worse.

    The best is what a user would get without any of this, so the result is compared with it. The
    hopeless ones stop after a few examples (all run on, where a front is wanted); whoever might be
    as good runs on all of them, so that the rival is not one that looked good, or bad, on a few.
    """
    if not study.singles:
        return
    singles = list(study.singles.values())
    standings = study.race(
        STAGE,
        [study.incumbent, *singles],
        first=FIRST_RUNG,
        keep=study.incumbent,
        errors=ErrorRate(0.05, comparisons=len(singles)),
    )
    longest = max(len(s.evaluation.outcomes) for s in standings if s.config in singles)
    known = study.evaluator.known
    study.single_model = study.best([c for c in singles if len(known(c).outcomes) >= longest])
    study.protect_holdout()
