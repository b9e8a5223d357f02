"""What is known of a config: its outcome on each example, and what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from evaluators.objective import Costs
from evaluators.statistics import Interval, mean_interval
from pipelines import Failure
from search_spaces import PipelineConfig

MOST_UNSCORED = 0.1
"""A config with a larger share of infrastructure failures than this is disqualified."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One config on one example."""

    score: float | None
    """In [0, 1]; None when an infrastructure failure, or the judge's, left it unscored."""
    usd: float
    calls: int
    latency_s: float
    failure: Failure | None
    feedback: str | None = None
    """What the metric said about it, if it says anything."""
    members_failed: tuple[Failure, ...] = ()
    """What the members of wide modules made up for: see `ModuleStep`."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """By wide module, the share of its members that agreed."""
    asked: Mapping[str, int] = field(default_factory=dict)
    """How often each module was asked, where the program decides that; and how many calls it made
    that belong to none."""
    returned: tuple[str, ...] = ()
    """The fields that it returned, where the program decides that."""
    judge_usd: float = 0.0
    """What judging it took; no part of `usd`, since running the pipeline needs no judge."""

    @property
    def outage(self) -> bool:
        """Whether infrastructure kept it from being what the config says."""
        own = () if self.failure is None else (self.failure,)
        return any(failure.infrastructure for failure in own + self.members_failed)


class Run(NamedTuple):
    """A config that was run on an example."""

    config: PipelineConfig
    example: int
    outcome: Outcome


@dataclass(frozen=True)
class Evaluation:
    """One config on some examples, by the examples' indices."""

    outcomes: Mapping[int, Outcome]

    @cached_property
    def scores(self) -> dict[int, float]:
        """Scores by example, without the unscored."""
        return {i: o.score for i, o in self.outcomes.items() if o.score is not None}

    @property
    def mean(self) -> float:
        """Mean score; NaN when nothing was scored."""
        scores = list(self.scores.values())
        return float(np.mean(scores)) if scores else float("nan")

    @property
    def interval(self) -> Interval | None:
        """Mean score with its 95% interval; None when nothing was scored."""
        scores = list(self.scores.values())
        return mean_interval(scores) if scores else None

    @property
    def failures(self) -> dict[str, int]:
        """How many examples failed, by kind."""
        kinds = (o.failure.kind for o in self.outcomes.values() if o.failure)
        return dict(sorted(Counter(kinds).items()))

    @property
    def works(self) -> bool:
        """Whether any run came to its end."""
        return any(outcome.failure is None for outcome in self.outcomes.values())

    @property
    def members_failed(self) -> dict[str, int]:
        """How often the members of wide modules had something to make up for, by kind."""
        kinds = (f.kind for o in self.outcomes.values() for f in o.members_failed)
        return dict(sorted(Counter(kinds).items()))

    @property
    def agreement(self) -> dict[str, float]:
        """Mean share of members that agreed, by wide module."""
        by_module: dict[str, list[float]] = {}
        for outcome in self.outcomes.values():
            for module, share in outcome.agreement.items():
                by_module.setdefault(module, []).append(share)
        return {module: float(np.mean(shares)) for module, shares in by_module.items()}

    @property
    def unscored(self) -> int:
        """How many examples infrastructure failures left without a score."""
        return len(self.outcomes) - len(self.scores)

    @property
    def disqualified(self) -> bool:
        """Whether outages hit too large a share for the mean to be this config's."""
        return self.hit > MOST_UNSCORED * len(self.outcomes)

    @property
    def hit(self) -> int:
        """How many examples met outages."""
        return sum(outcome.outage for outcome in self.outcomes.values())

    @property
    def usd_per_example(self) -> float:
        """Mean dollars per example, at recorded prices."""
        return self._mean("usd")

    @property
    def calls_per_example(self) -> float:
        """Mean calls per example."""
        return self._mean("calls")

    @property
    def latency_s(self) -> float:
        """Mean seconds on the critical path."""
        return self._mean("latency_s")

    @property
    def costs(self) -> Costs:
        """Mean score, dollars and seconds per example."""
        return Costs(self.mean, self.usd_per_example, self.latency_s)

    def on(self, examples: Collection[int]) -> Evaluation:
        """The same on some of the examples."""
        return Evaluation({i: o for i, o in self.outcomes.items() if i in examples})

    def _mean(self, name: str) -> float:
        values = [getattr(o, name) for o in self.outcomes.values()]
        return float(np.mean(values)) if values else float("nan")
