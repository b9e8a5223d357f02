"""The lineage of trials: which departed from which, and the path to the tuned config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.search.records.trial import Trial
from search_spaces import PipelineConfig


@dataclass(frozen=True)
class Branch:
    """A trial, and those that departed from it."""

    trial: Trial
    branches: tuple[Branch, ...]
    """In the order of their numbers."""
    on_best_path: bool
    """Whether it is the tuned config's last trial, or that one descends from it."""

    @property
    def others(self) -> tuple[Branch, ...]:
        """The branches that lead elsewhere than to the tuned config."""
        return tuple(branch for branch in self.branches if not branch.on_best_path)


def lineage(trials: Sequence[Trial], tuned: PipelineConfig) -> list[Branch]:
    """The trees of trials, one per trial without a base.

    Args:
        trials: in the order of their numbers; a base comes before what departs from it.
        tuned: the config at the end of the best path.
    """
    bases = {trial.number: trial.base for trial in trials}
    ran = [trial for trial in trials if trial.status != "failed"]
    step = max((trial.number for trial in ran if trial.config.key == tuned.key), default=None)
    path = set()
    while step is not None:
        path.add(step)
        step = bases.get(step)
    roots: list[Branch] = []
    branches: dict[int | None, list[Branch]] = {}
    for trial in reversed(trials):
        own = reversed(branches.pop(trial.number, []))
        siblings = branches.setdefault(trial.base, []) if trial.base in bases else roots
        siblings.append(Branch(trial, tuple(own), trial.number in path))
    return roots[::-1]


def best_path(trials: Sequence[Trial], tuned: PipelineConfig) -> list[Branch]:
    """The trials from the first to the tuned config's last, each with all that departed from it."""
    path: list[Branch] = []
    here = lineage(trials, tuned)
    while step := next((branch for branch in here if branch.on_best_path), None):
        path.append(step)
        here = list(step.branches)
    return path
