"""Objectives: quality, quality within limits, the cheapest that is good enough, or a front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, StrictBool, StrictFloat
from pydantic.dataclasses import dataclass

from search_spaces.refusals import nearest, refusing_with

TOLERANCE = 0.005
"""Points of a front whose estimates differ by no more tie, and the cheapest is picked. What is only
predicted must promise more than this."""

MOST_SLOW = 0.05
"""The share of runs that may take longer than the 95th percentile."""

T = TypeVar("T")


class Costs(NamedTuple):
    """The score of a config, and what it costs per example."""

    score: float
    usd: float
    latency_s: float
    """Mean seconds; NaN, if unknown, counts as more than any."""
    latency_p95_s: float = 0.0
    """95th percentile of the seconds; left at 0 where only means are known."""

    def dominates(self, other: Costs) -> bool:
        """Whether it is no worse in score, dollars and mean seconds, and better in one of them.

        The 95th percentile is for limits only: it is too noisy to compare by.
        """
        ours, theirs = self._losses, other._losses
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))

    @property
    def _losses(self) -> tuple[float, float, float]:
        return (-self.score, self.usd, _at_most(self.latency_s))


@refusing_with(ValueError)
@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Objective:
    """What makes one config better than another.

    `Objective()` is the best score; a tie goes to the cheaper config. Limits apply to the mean per
    example, but for `max_latency_p95_s`.

    Raises:
        ValueError: an unknown name, a value that makes no sense, or two that exclude each other.
    """

    max_cost_usd: StrictFloat | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Most dollars per example."""
    max_latency_s: StrictFloat | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Most seconds per example on the critical path, members in parallel."""
    max_latency_p95_s: StrictFloat | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Most seconds in 95% of the examples: the limit of the 95th percentile by nearest rank
    (`Evaluation.latency_p95_s`), which with fewer than 20 examples is the slowest run."""
    within: StrictFloat | None = None
    """The cheapest config whose score is at most this much below the best: 0.01 is one point."""
    of: Literal["best", "single_model"] = "best"
    """Below the best of all, or the best single model in all modules: as good as that, for less."""
    pareto: StrictBool = False
    """Look for every config that no other beats in score, dollars and seconds at once."""

    def __post_init__(self) -> None:
        """Check the share, and values that exclude each other."""
        if self.within is not None and not 0 <= self.within < 1:
            raise ValueError(
                f"`0 <= within < 1` must hold (0.01 is one point), but got {self.within:g}"
            )
        if self.of == "single_model" and self.within is None:
            raise ValueError("of='single_model' needs within=..., such as within=0.01")
        if self.pareto and self.limited:
            raise ValueError(
                "pareto=True looks for all of the front: give limits to Result.pick(...) instead"
            )

    def excess(self, costs: Costs) -> float:
        """The largest factor by which a limit is exceeded; 1 or less if all are met."""
        limits = (
            (costs.usd, self.max_cost_usd),
            (_at_most(costs.latency_s), self.max_latency_s),
            (_at_most(costs.latency_p95_s), self.max_latency_p95_s),
        )
        return max((value / limit for value, limit in limits if limit is not None), default=0.0)

    def meets(self, costs: Costs) -> bool:
        """Whether the limits are met."""
        return self.excess(costs) <= 1

    @property
    def limited(self) -> bool:
        """Whether costs count for more than a tie."""
        limits = (self.max_cost_usd, self.max_latency_s, self.max_latency_p95_s, self.within)
        return any(limit is not None for limit in limits)

    @property
    def measures_latency(self) -> bool:
        """Whether latencies count for more than a tie."""
        limited = (self.max_latency_s, self.max_latency_p95_s) != (None, None)
        return self.pareto or limited

    @property
    def tolerance(self) -> float:
        """How far below the best score a cheaper config may be and still be preferred."""
        return TOLERANCE if self.within is None else self.within

    def choose(self, candidates: Sequence[T], costs: Sequence[Costs]) -> T:
        """The candidate to pick from a front: of those within the limits, the cheapest within the
        tolerance of the best; if there are none, the one that exceeds the limits least.

        The search itself ranks candidates by posterior means (`optimizer/search/leading/`).

        Args:
            candidates: at least one.
            costs: of each candidate, on the same examples.
        """
        both = list(zip(candidates, costs, strict=True))
        fit = [(c, cost) for c, cost in both if self.meets(cost)]
        if not fit:
            return min(both, key=lambda pair: (self.excess(pair[1]), -pair[1].score))[0]
        best = max(cost.score for _, cost in fit)
        tied = [(c, cost) for c, cost in fit if cost.score >= best - self.tolerance - 1e-12]
        return min(tied, key=lambda pair: (pair[1].usd, -pair[1].score))[0]

    def __str__(self) -> str:
        limits = []
        if self.max_cost_usd is not None:
            usd = np.format_float_positional(self.max_cost_usd, trim="-")  # :g would say 1e-06
            limits.append(f"cost at most ${usd} per example")
        if self.max_latency_s is not None:
            limits.append(f"latency at most {self.max_latency_s:g} s")
        if self.max_latency_p95_s is not None:
            limits.append(f"latency at most {self.max_latency_p95_s:g} s in 95% of the examples")
        what = "quality" if self.within is None else f"cheapest within {_points(self.within)}"
        what += " of the best single model" if self.of == "single_model" else ""
        if self.pareto:
            what = "quality, cost and latency"
        return ", ".join([what, *limits])


def _at_most(latency_s: float) -> float:
    """Infinity for one that is unknown."""
    return math.inf if math.isnan(latency_s) else latency_s


def _points(share: float) -> str:
    return "1 point" if f"{100 * share:g}" == "1" else f"{100 * share:g} points"


QUALITY = Objective()
"""The best score, a tie going to the cheaper."""


def as_objective(given: str | Objective) -> Objective:
    """The objective of that name; raises ValueError, with the known names, if there is none."""
    named = {"quality": QUALITY, "pareto": Objective(pareto=True)}
    if isinstance(given, Objective):
        return given
    if not isinstance(given, str) or given not in named:
        hint = nearest(given, named) if isinstance(given, str) else ""
        raise ValueError(
            f"objective must be 'quality', 'pareto', or an Objective(max_cost_usd=..., "
            f"max_latency_s=..., max_latency_p95_s=..., within=...), but got {given!r}{hint}"
        )
    return named[given]


def front(costs: Iterable[Costs]) -> list[int]:
    """The indices of those that no other dominates; of equals, the first."""
    rows = list(costs)
    losses = [row._losses for row in rows]
    return [
        place
        for place, row in enumerate(rows)
        if losses[place] not in losses[:place] and not any(other.dominates(row) for other in rows)
    ]
