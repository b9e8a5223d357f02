"""The front to choose from, and configs that looked better but did not earn their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from evaluators.objective import Costs, Objective
from evaluators.outcome import Evaluation
from evaluators.statistics import Interval
from optimizer.formatting import dollars, percent, seconds
from optimizer.results.held_out_scores import HeldOutScores
from optimizer.search.records.config_changes import changed_text
from optimizer.search.records.trial import config_text, flat_config
from pipelines import Tunable
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    import pandas as pd

    from optimizer.search.state import SearchState

MOST_UNPROVEN = 3
"""At most this many are listed."""


@dataclass(frozen=True)
class OperatingPoint:
    """One config of the front, with its figures."""

    pipeline: Tunable
    """Ready to be called, or saved."""
    score: Interval
    """Mean score with its 95% interval."""
    usd_per_example: float
    latency_s: float
    """Mean seconds per example on the critical path."""
    latency_p95_s: float
    """95th percentile of the seconds; see `Evaluation.latency_p95_s`."""
    measured_on: Literal["holdout", "search"]
    """The source of these figures; the search chose by its own, which are too good on average."""
    estimate: float
    """The posterior mean of the score on the search examples, by which points are picked."""
    held_out_scores: HeldOutScores | None = None
    """By example; None if these figures are the search's."""

    @property
    def config(self) -> PipelineConfig:
        """Its values of the knobs."""
        return self.pipeline.config or self.pipeline.default_config()

    @property
    def costs(self) -> Costs:
        """The figures that points are picked by."""
        return Costs(self.estimate, self.usd_per_example, self.latency_s, self.latency_p95_s)

    def __str__(self) -> str:
        held_out = f"{percent(self.score.mean)} held out, " if self.measured_on == "holdout" else ""
        return (
            f"{config_text(self.config)}: {held_out}{percent(self.estimate)} by the search's "
            f"estimate, {dollars(self.usd_per_example)} and {seconds(self.latency_s)} per example, "
            f"at most {seconds(self.latency_p95_s)} in 95% of them"
        )


def operating_points(
    state: SearchState,
    held_out: Mapping[str, Evaluation],
    mean: Callable[[Evaluation], Interval | None],
    bound: Callable[[PipelineConfig], Tunable],
    keys: Sequence[str],
) -> tuple[OperatingPoint, ...]:
    """The front's configs with their figures, best estimate first: those of the holdout (by config
    key) where there are any, else those of the search; `mean` is the reported score, and `keys` are
    those of the held-out examples."""
    points = [
        _point(state, config, held_out.get(config.key), mean, bound, keys)
        for config in state.front()
    ]
    return tuple(sorted(points, key=lambda point: -point.estimate))


def _point(
    state: SearchState,
    config: PipelineConfig,
    final: Evaluation | None,
    mean: Callable[[Evaluation], Interval | None],
    bound: Callable[[PipelineConfig], Tunable],
    keys: Sequence[str] = (),
) -> OperatingPoint:
    measured = final if final is not None and final.scores else state.evaluator.known(config)
    score = mean(measured)
    assert score is not None, "only configs with scores are listed"
    return OperatingPoint(
        pipeline=bound(config),
        score=score,
        usd_per_example=measured.usd_per_example,
        latency_s=measured.latency_s,
        latency_p95_s=measured.latency_p95_s,
        measured_on="holdout" if measured is final else "search",
        estimate=state.estimate(config),
        held_out_scores=HeldOutScores.of(measured.scores if measured is final else {}, keys),
    )


def points_frame(points: Sequence[OperatingPoint]) -> pd.DataFrame:
    """One row per point: its figures, their source, and the knobs that it sets."""
    import pandas as pd  # 0.3 s

    rows = [
        {
            "measured_on": point.measured_on,
            **point.score.named("score"),
            "usd_per_example": point.usd_per_example,
            "latency_s": point.latency_s,
            "latency_p95_s": point.latency_p95_s,
            "estimate": point.estimate,
            **flat_config(point.config),
        }
        for point in points
    ]
    return pd.DataFrame(rows)


def pick(points: Sequence[OperatingPoint], objective: Objective) -> OperatingPoint:
    """The point that the objective prefers.

    Raises:
        ValueError: none meets its limits; names the closest.
    """
    if not points:
        raise ValueError("there is nothing to pick from: no config was scored on every example")
    chosen = objective.choose(points, [point.costs for point in points])
    if not objective.meets(chosen.costs):
        raise ValueError(f"no point meets the limits ({objective}); the closest is {chosen}")
    return chosen


@dataclass(frozen=True)
class Unproven:
    """A config with a better estimate than the result's that did not earn its place."""

    point: OperatingPoint
    reason: str
    """Why it was not chosen."""
    chosen: float
    """The estimate of what the search chose."""
    changed: str
    """What differs from what the search chose, as `solve.model: a -> b`."""

    def __str__(self) -> str:
        estimates = f"{percent(self.point.estimate)} (what was chosen: {percent(self.chosen)})"
        return f"{self.changed}, estimated at {estimates}, but {self.reason}"


def unproven(
    state: SearchState,
    mean: Callable[[Evaluation], Interval | None],
    bound: Callable[[PipelineConfig], Tunable],
) -> tuple[Unproven, ...]:
    """The best of the configs that did not earn their place, best estimate first."""
    chosen, found = state.estimate(state.incumbent), []
    for config in state.unproven()[:MOST_UNPROVEN]:
        point = _point(state, config, None, mean, bound)
        changed = changed_text(state.incumbent, config)
        found.append(Unproven(point, _reason(state, config), chosen, changed))
    return tuple(found)


def _reason(state: SearchState, config: PipelineConfig) -> str:
    last, examples = state.last_trial(config), len(state.examples)
    if state.evaluator.known(config).disqualified:
        return "too many of its calls failed"
    if not state.has_seen_all(config):
        seen = f"on {state.seen(config)} of {examples} search examples"
        ended = " when the budget ended" if last and last.status == "cut_off" else ""
        return f"run {seen} only{ended}"
    never = "in no race after it was run on all search examples"
    return state.passed_over.get(config.key, never)
