"""The lineage of trials: which departed from which, and the path to the tuned config."""

from __future__ import annotations

from collections.abc import Sequence

from optimizer.search.records.trial import Trial
from search_spaces import PipelineConfig


def branches(trials: Sequence[Trial]) -> dict[int, list[Trial]]:
    """By each trial's number, the trials that departed from it, in the order of their numbers."""
    below: dict[int, list[Trial]] = {trial.number: [] for trial in trials}
    for trial in trials:
        if trial.base in below:
            below[trial.base].append(trial)
    return below


def best_path(trials: Sequence[Trial], tuned: PipelineConfig) -> list[Trial]:
    """The trials from the first to the tuned config's last, each departing from the one before."""
    by_number = {trial.number: trial for trial in trials}
    ran = [trial for trial in trials if trial.status != "failed" and trial.config.key == tuned.key]
    step = max(ran, key=lambda trial: trial.number, default=None)
    path: list[Trial] = []
    while step is not None:
        path.append(step)
        step = None if step.base is None else by_number.get(step.base)
    return path[::-1]
