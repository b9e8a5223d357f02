"""A config's outcome on each example, and their summary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from evaluators.objective import MOST_SLOW, Costs
from evaluators.statistics import Interval, mean_interval
from pipelines import Failure, ModuleStep, Trace
from search_spaces import PipelineConfig

MOST_UNSCORED = 0.1
"""A config with a larger share of infrastructure failures than this is disqualified."""


NOT_TRACED = Trace(steps=(), outputs=None)


class ModuleCost(NamedTuple):
    """The cost of one module in one run, its members and its aggregator included."""

    usd: float
    seconds: float
    """On its critical path; modules side by side overlap. NaN if unknown, as in a trace."""


def cost_by_module(steps: Iterable[ModuleStep]) -> dict[str, ModuleCost]:
    """Add up the steps of each module that a run reached; a program may ask one several times."""
    by_module: dict[str, list[ModuleStep]] = {}
    for step in steps:
        by_module.setdefault(step.module, []).append(step)
    return {  # `fsum`, since steps in threads come in any order
        module: ModuleCost(math.fsum(s.usd for s in own), math.fsum(s.latency_s for s in own))
        for module, own in by_module.items()
    }


@dataclass(frozen=True)
class Outcome:
    """One config on one example."""

    score: float | None
    """In [0, 1]; None when an infrastructure failure, or the judge's, left it unscored."""
    usd: float
    calls: int
    latency_s: float
    """NaN if unknown, as in a trace."""
    failure: Failure | None
    feedback: str | None = None
    """The metric's comment, if any."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """By wide module, the share of its members that agreed."""
    asked: Mapping[str, int] = field(default_factory=dict)
    """How often each module was asked, where the program decides that; and how many calls it made
    outside of modules."""
    judge_usd: float = 0.0
    """Price of judging it; no part of `usd`, since running the pipeline needs no judge."""
    trace: Trace = NOT_TRACED
    """What every module received and returned."""

    @cached_property
    def members_failed(self) -> tuple[Failure, ...]:
        """Failures of members whose module still answered: see `ModuleStep`."""
        return self.trace.made_up_for

    @property
    def asked_again(self) -> int:
        """How many of its calls ask again, as JSON, since a reply could not be read."""
        return sum(call.asked_again for call in self.trace.calls)

    @cached_property
    def unread(self) -> Mapping[str, tuple[int, int]]:
        """By model, how many replies could not be read, and how many there were."""
        replies = Counter(call.model for call in self.trace.calls)
        unread = Counter(call.model for call in self.trace.calls if call.unread)
        return {model: (unread[model], count) for model, count in replies.items()}

    @cached_property
    def by_module(self) -> Mapping[str, ModuleCost]:
        """The cost of each module that was reached; the dollars add up to `usd`."""
        return cost_by_module(self.trace.steps)

    @property
    def outage(self) -> bool:
        """Whether an infrastructure failure changed it."""
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
        return _kinds(o.failure for o in self.outcomes.values() if o.failure)

    @property
    def works(self) -> bool:
        """Whether any run came to its end."""
        return any(outcome.failure is None for outcome in self.outcomes.values())

    @property
    def members_failed(self) -> dict[str, int]:
        """How many members failed whose module still answered, by kind."""
        return _kinds(f for o in self.outcomes.values() for f in o.members_failed)

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
        """Whether outages hit too many examples for the mean to count."""
        return self.hit > MOST_UNSCORED * len(self.outcomes)

    @cached_property
    def hit(self) -> int:
        """How many examples met outages."""
        return sum(outcome.outage for outcome in self.outcomes.values())

    @cached_property
    def unread(self) -> dict[str, tuple[int, int]]:
        """By model, how many replies could not be read, and how many there were."""
        counts = [o.unread for o in self.outcomes.values()]
        return {
            model: (sum(c[model][0] for c in counts if model in c),
                    sum(c[model][1] for c in counts if model in c))
            for model in sorted({model for count in counts for model in count})
        }  # fmt: skip

    @cached_property
    def calls_per_first_call(self) -> float:
        """Mean calls until a reply can be read: 1, unless some were asked again."""
        calls = sum(outcome.calls for outcome in self.outcomes.values())
        first = calls - sum(outcome.asked_again for outcome in self.outcomes.values())
        return calls / first if first else 1.0

    @cached_property
    def usd_per_example(self) -> float:
        """Mean dollars per example, at recorded prices."""
        return self._mean("usd")

    @cached_property
    def calls_per_example(self) -> float:
        """Mean calls per example."""
        return self._mean("calls")

    @property
    def latency_s(self) -> float:
        """Mean seconds on the critical path, of the runs where they are known; NaN if in none."""
        return self._mean("latency_s")

    @property
    def latency_p95_s(self) -> float:
        """95th percentile of the same seconds.

        By nearest rank: the least observed latency that at least 95% of the runs did not exceed;
        with fewer than 20 examples, the slowest run. The true percentile exceeds the slowest of n
        runs with probability 0.95 ** n, which is 36% for 20 examples, 5% for 60.
        """
        values = _known(outcome.latency_s for outcome in self.outcomes.values())
        if not values:
            return math.nan
        return float(np.quantile(values, 1 - MOST_SLOW, method="inverted_cdf"))

    @cached_property
    def costs(self) -> Costs:
        """Mean score, and dollars and seconds per example."""
        return Costs(self.mean, self.usd_per_example, self.latency_s, self.latency_p95_s)

    @property
    def usd_by_module(self) -> dict[str, float]:
        """Mean dollars per example by module, 0 where it was not reached."""
        return {module: cost.usd for module, cost in self._by_module.items()}

    @property
    def seconds_by_module(self) -> dict[str, float]:
        """Mean seconds per example by module, 0 where it was not reached; those that are unknown
        count as the mean of the others, and it is NaN if all are."""
        return {module: cost.seconds for module, cost in self._by_module.items()}

    def gains_over(self, other: Evaluation) -> list[float]:
        """The differences to the scores of the other, on the examples that both were scored on."""
        return [score - other.scores[i] for i, score in self.scores.items() if i in other.scores]

    def on(self, examples: Collection[int]) -> Evaluation:
        """The evaluation on these examples only."""
        return Evaluation({i: o for i, o in self.outcomes.items() if i in examples})

    @cached_property
    def _by_module(self) -> dict[str, ModuleCost]:
        costs = [outcome.by_module for outcome in self.outcomes.values()]
        modules = dict.fromkeys(module for cost in costs for module in cost)
        runs = {m: [cost[m] for cost in costs if m in cost] for m in modules}
        return {
            module: ModuleCost(
                math.fsum(cost.usd for cost in own) / len(costs),
                _mean(_known(cost.seconds for cost in own)) * len(own) / len(costs),
            )
            for module, own in runs.items()
        }

    def _mean(self, name: str) -> float:
        return _mean(_known(getattr(outcome, name) for outcome in self.outcomes.values()))


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _mean(values: Sequence[float]) -> float:
    """NaN if there are none. `fsum`, since examples come in any order."""
    return math.fsum(values) / len(values) if values else math.nan


def _kinds(failures: Iterable[Failure]) -> dict[str, int]:
    return dict(sorted(Counter(failure.kind for failure in failures).items()))
