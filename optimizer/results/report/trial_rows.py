"""Trials as rows and as a tree, and what each stage took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from optimizer.formatting import counted, dollars, percent, percent_interval, seconds
from optimizer.search.records.config_changes import config_changes
from optimizer.search.records.trial import Trial, config_text
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from optimizer.results.result import Result


class Cell(NamedTuple):
    """Of a table that can be sorted."""

    text: str
    value: float
    """What it is sorted by; NaN goes last."""


def trial_row(trial: Trial, baseline: PipelineConfig) -> dict[str, Any]:
    """One trial: figures to sort by, what differs from the baseline, and all else as details."""
    mean = trial.score.mean if trial.score else math.nan
    base = math.nan if trial.base is None else float(trial.base)
    by_module = (
        f"{module} {dollars(usd)}, {seconds(trial.seconds_by_module[module])}"
        for module, usd in trial.usd_by_module.items()
    )
    details = {
        "config": config_text(trial.config),
        "changed in its base": trial.changed,
        "95% of the runs took at most": seconds(trial.latency_p95_s),
        "calls per example": f"{trial.calls_per_example:.3g}",
        "cost by module": "; ".join(by_module),
        "failures": ", ".join(f"{n} {kind}" for kind, n in trial.failures.items()),
        "made up for by other members": ", ".join(
            f"{n} {kind}" for kind, n in trial.members_failed.items()
        ),
        "agreement of members": ", ".join(
            f"{module} {percent(share)}" for module, share in trial.agreement.items()
        ),
        "detail": trial.detail,
    }
    return {
        "number": trial.number,
        "stage": trial.stage,
        "status": trial.status.replace("_", " "),
        "turn": Cell(str(trial.turn), trial.turn),
        "base": Cell("" if trial.base is None else f"#{trial.base}", base),
        "score": Cell("n/a" if trial.score is None else percent(mean), mean),
        "interval": percent_interval(trial.score) if trial.score else "",
        "examples": Cell(str(trial.examples), trial.examples),
        "usd": Cell(dollars(trial.usd_per_example), trial.usd_per_example),
        "latency": Cell(seconds(trial.latency_s), trial.latency_s),
        "calls": Cell(f"{trial.nominal_calls:,}", trial.nominal_calls),
        "chips": [(c.knob, c.new) for c in config_changes(baseline, trial.config)],
        "details": {name: value for name, value in details.items() if value},
    }


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


def lineage_step(trial: Trial) -> dict[str, Any]:
    """One trial in the lineage."""
    again = "more examples" if trial.base is not None else "the pipeline as given"
    return {
        "number": trial.number,
        "stage": trial.stage,
        "changed": trial.changed or again,
        "score": percent(trial.score.mean) if trial.score else "n/a",
        "seen": f"on {counted(trial.examples, 'example')}, {trial.status.replace('_', ' ')}",
    }


class Part(NamedTuple):
    """A part of the spend."""

    name: str
    usd: float
    calls: int
    tokens: int | None = None


def spent_by_stage(result: Result) -> list[Part]:
    """What was spent between trials, under the stage of the later one; the rest is the end's."""
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
    """Task, diagnoser, judge and prompts."""
    return [
        Part(name, part.usd, part.calls, part.input_tokens + part.output_tokens)
        for name, part in result.spent.by_purpose.items()
    ]
