"""The trace of a run: every module's inputs, outputs, calls, seconds and failure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from pipelines.gateway.call_record import CallRecord, Failure, slowest

__all__ = ["CallRecord", "Failure", "MemoKey", "ModuleStep", "Trace"]


@dataclass(frozen=True)
class ModuleStep:
    """What one module received and returned."""

    module: str
    inputs: Mapping[str, Any]
    """By the pipeline's field names, so that `Program.run_module` takes them as they are."""
    outputs: Mapping[str, Any] | None
    """By the pipeline's field names, with the module's chain of thought; None if it failed."""
    calls: tuple[CallRecord, ...]
    """Members' in their order, then those of the aggregator; none for a function module."""
    latency_s: float
    """Seconds along the critical path: those asked together take as long as the slowest. The time
    of the user's own functions and aggregators counts too, as `own_time` measures it. NaN if a
    batch brought one of the calls."""
    failure: Failure | None = None
    after: tuple[str, ...] = ()
    """The modules whose outputs it read."""
    agreement: float = 1.0
    """Share in [0, 1] of the members asked that agreed with the outcome: 1 for a single one, and 0
    where there is no outcome."""
    members_failed: tuple[Failure, ...] = ()
    """Failures that the others made up for: of members, of what the aggregator consulted, or of the
    aggregator's own work, such as an answer without a number for a mean."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The module's own, and those that were made up for."""
        own = () if self.failure is None else (self.failure,)
        return own + self.members_failed

    def lasts(self) -> bool:
        """Whether it may be kept: outages, its members' included, are transient."""
        return not any(failure.infrastructure for failure in self.failures)

    @property
    def usd(self) -> float:
        """Price of its calls, those from the cache included."""
        return sum(call.usd for call in self.calls)

    @property
    def tokens(self) -> int:
        """Input and output tokens of its calls."""
        return sum(call.input_tokens + call.output_tokens for call in self.calls)


@dataclass(frozen=True)
class Trace:
    """One run of a pipeline on one example's inputs."""

    steps: tuple[ModuleStep, ...]
    """In the order of levels, and within a level as the pipeline lists the modules."""
    outputs: Mapping[str, Any] | None
    """The pipeline's outputs; None if a module failed."""
    failure: Failure | None = None
    """The failure of the first step that failed."""

    def step(self, module: str) -> ModuleStep:
        """The step of one module; raises KeyError if it was not run."""
        for step in self.steps:
            if step.module == module:
                return step
        names = [step.module for step in self.steps]
        raise KeyError(f"module {module!r} was not run; those that were: {names}")

    def lasts(self) -> bool:
        """Whether it may be kept; see `ModuleStep.lasts`."""
        return all(step.lasts() for step in self.steps)

    @property
    def made_up_for(self) -> tuple[Failure, ...]:
        """Failures that did not end the run: of members, and of modules whose failure the program
        handled."""
        if self.failure is not None:
            return tuple(f for step in self.steps for f in step.members_failed)
        return tuple(f for step in self.steps for f in step.failures)

    @cached_property
    def calls(self) -> tuple[CallRecord, ...]:
        """Every call of the run, in the order of steps."""
        return tuple(chain.from_iterable(step.calls for step in self.steps))

    @property
    def confidence(self) -> float:
        """Share of the members that agreed in the module where fewest did; 1 if none is wide."""
        return min((step.agreement for step in self.steps), default=1.0)

    @property
    def usd(self) -> float:
        """Price of the run, calls from the cache included."""
        return math.fsum(call.usd for call in self.calls)  # steps in threads come in any order

    @property
    def input_tokens(self) -> int:
        """Input tokens of all calls."""
        return sum(call.input_tokens for call in self.calls)

    @property
    def output_tokens(self) -> int:
        """Output tokens of all calls."""
        return sum(call.output_tokens for call in self.calls)

    @cached_property
    def latency_s(self) -> float:
        """Seconds along the slowest path; modules that wait for nothing run side by side. NaN if
        those of a step are unknown."""
        return slowest(start + step.latency_s for step, start in self.timed_steps())

    def timed_steps(self) -> Iterator[tuple[ModuleStep, float]]:
        """The steps, and how many seconds after the beginning of the run each began."""
        ends: dict[str, float] = {}
        for step in self.steps:
            start = slowest(ends[name] for name in step.after if name in ends)
            ends[step.module] = start + step.latency_s
            yield step, start


class MemoKey(NamedTuple):
    """What decides a module's step, within one pipeline and one set of models."""

    module: str
    config: str
    """The module's config as canonical JSON."""
    samples: tuple[int, ...]
    """Sample index by member; empty for a function module."""
    inputs: str
    """Their fingerprint."""
