"""Trials as a tree, and what each stage cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from optimizer.search.records.trial import Trial
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from optimizer.results.result import Result


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


class Part(NamedTuple):
    """A part of the spend."""

    name: str
    usd: float
    calls: int
    tokens: int | None = None


def spent_by_stage(result: Result) -> list[Part]:
    """The spend between trials counts for the stage of the later one; the rest is the end's."""
    start = Part("", 0.0, 0)
    marks = [Part(t.stage, t.nominal_usd, t.nominal_calls) for t in result.trials_]
    end = "after the last trial: final pass" if result.held_out else "after the last trial"
    marks.append(Part(end, result.spent.usd, result.spent.calls))
    sums: dict[str, Part] = {}
    for before, after in pairwise([start, *marks]):
        known = sums.get(after.name, start)
        usd, calls = after.usd - before.usd, after.calls - before.calls
        sums[after.name] = Part(after.name, known.usd + usd, known.calls + calls)
    return [part for part in sums.values() if part.calls or part.usd > 0]


def spent_by_purpose(result: Result) -> list[Part]:
    """The spend on the task, diagnoser, judge and prompts."""
    return [
        Part(name, part.usd, part.calls, part.input_tokens + part.output_tokens)
        for name, part in result.spent.by_purpose.items()
    ]
