"""The rival that needs no search: one model in all modules."""

from __future__ import annotations

from evaluators.racing import HALVING
from optimizer.study import Study

STAGE = "single-model"
FIRST_RUNG = 8
"""On how many examples all of them run; then the worse half stops, and so on."""


def race_single_models(study: Study) -> None:
    """Race every model in all modules at once; hopeless ones stop after a few examples.

    The best is what a user would get without any of this, so the result is compared with it;
    its calls are shared with the allocation through the cache.
    """
    config = study.baseline
    study.singles = {
        label: config.with_models(dict.fromkeys(config.allocation, label))
        for label in study.space.single_models()
    }
    if study.singles:
        standings = study.race(
            STAGE, list(study.singles.values()), first=FIRST_RUNG, patience=HALVING
        )
        study.single_model = study.best([s.config for s in standings if s.finished])
        study.protect_holdout()
