"""Configs that looked better than the search's choice, and why they were not chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evaluators.outcome import Evaluation
from evaluators.statistics import Interval
from optimizer.formatting import percent
from optimizer.results.operating_points import OperatingPoint, operating_points
from optimizer.search.leading.earning import SURE
from optimizer.search.records.trial import config_text
from pipelines import Tunable
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from optimizer.search.state import SearchState

MOST = 3
"""So many are listed."""


@dataclass(frozen=True)
class Unproven:
    """A config with a better estimate than the result's that did not earn its place."""

    point: OperatingPoint
    """Its estimate is the posterior mean, which shrinks the luck of the best of many."""
    reason: str
    """Why it was not chosen."""
    chosen: float
    """The estimate of what the search chose."""

    def __str__(self) -> str:
        estimates = f"{percent(self.point.estimate)} (what was chosen: {percent(self.chosen)})"
        return f"{config_text(self.point.config)}, estimated at {estimates}, but {self.reason}"


def unproven(
    state: SearchState,
    mean: Callable[[Evaluation], Interval | None],
    bound: Callable[[PipelineConfig], Tunable],
) -> tuple[Unproven, ...]:
    """The best of them, the best estimate first.

    Args:
        state: of a search that is over.
        mean: the score that is reported.
        bound: the pipeline with a config.
    """
    configs, chosen = state.unproven()[:MOST], state.estimate(state.incumbent)
    points = (operating_points([c], state.evaluator.known, {}, mean, bound)[0] for c in configs)
    return tuple(
        Unproven(replace(point, estimate=state.estimate(config)), _reason(state, config), chosen)
        for config, point in zip(configs, points, strict=True)
    )


def _reason(state: SearchState, config: PipelineConfig) -> str:
    last, examples = state.last_trial(config), len(state.examples)
    if state.evaluator.known(config).disqualified:
        return "too many of its calls failed"
    if not state.has_seen_all(config):
        seen = f"on {state.seen(config)} of {examples} search examples"
        ended = " when the budget ended" if last and last.status == "cut_off" else ""
        return f"run {seen} only{ended}"
    if config.key in state.too_dear:
        return "too dear for what was left for the holdout"
    return f"not better with a probability of {SURE:.0%}"
