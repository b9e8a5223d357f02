"""Records of answered calls and of failures, and the recorder that collects them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.gateway.call import LMCall, LMReply


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One reply of the gateway, as it appears in a trace."""

    model: str
    """The model's label."""
    input_tokens: int
    output_tokens: int
    usd: float
    """The call's price, also when it came from the cache and was paid earlier."""
    latency_s: float
    """Seconds the model took when it was asked, also when the reply came from the cache; NaN if a
    batch brought it."""
    cached: bool
    key: str
    """The call's key in the cache: 64 hexadecimal digits."""
    purpose: str = "task"
    """What the call was for: task, diagnoser, judge or prompts."""
    finish_reason: str = "stop"
    """Why the model stopped: `stop`, `length`, `content_filter`, or what the provider says."""
    unread: bool = False
    """Whether the reply lacked fields, also since it was cut off, or had values that they can't
    take."""
    asked_again: bool = False
    """Whether the next call asks the same once more, as JSON, since this reply can't be read."""

    @classmethod
    def of(cls, call: LMCall, reply: LMReply) -> CallRecord:
        """The record of a call that was answered."""
        return cls.of_reply(call.model.label, call.key, reply, call.purpose)

    @classmethod
    def of_reply(cls, label: str, key: str, reply: LMReply, purpose: str = "task") -> CallRecord:
        """The record of a call of this key to the model of this label."""
        return cls(
            model=label,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            usd=reply.usd,
            latency_s=reply.latency_s,
            cached=reply.cached,
            key=key,
            purpose=purpose,
            finish_reason=reply.finish_reason,
        )


@dataclass(frozen=True)
class Failure:
    """Why a module brought no outputs."""

    kind: str
    """The model's own: `refusal`, `unparsable`, `truncated`, `empty`, `context_window`; a
    function's: `function_error`; a DSPy program's: `program_error` or `cancelled`; an outage's,
    such as `rate_limited` or `timeout`; or a metric's judge's, such as `judge_unparsable`."""
    module: str
    message: str
    infrastructure: bool
    """Whether it says nothing about the config, and so is no score."""


@dataclass
class Recorder:
    """Collects the calls and failures of one run of a module."""

    calls: list[CallRecord] = field(default_factory=list)
    latency_s: float = 0.0
    """Seconds along the critical path; NaN if those of a call are unknown."""
    agreement: float = 1.0
    """Share of the members that agreed with the outcome; 1 for a single one."""
    failures: list[Failure] = field(default_factory=list)
    """Of members that did not answer, and of the aggregator's own modules."""

    def note(self, call: CallRecord) -> None:
        """Add a call that followed the earlier ones."""
        self.calls.append(call)
        self.latency_s += call.latency_s

    def mark(self, count: int, *, unread: bool, asked_again: bool) -> None:
        """Record of the latest `count` calls what became of their replies."""
        self.calls[-count:] = [
            replace(call, unread=unread, asked_again=asked_again) for call in self.calls[-count:]
        ]

    def note_together(self, parts: Sequence[Recorder]) -> None:
        """Add runs that went on side by side: the slowest decides how long they took.

        Equal calls count once, as they are paid once.
        """
        for part in parts:
            known = {call.key for call in self.calls}
            self.calls.extend(call for call in part.calls if call.key not in known)
            self.failures.extend(part.failures)
        self.latency_s += slowest(part.latency_s for part in parts)


def slowest(latencies: Iterable[float]) -> float:
    """The longest, in whatever order they come: NaN if one is unknown, 0 if there is none."""
    return max(latencies, key=lambda each: (math.isnan(each), each), default=0.0)


_RECORDER: ContextVar[Recorder | None] = ContextVar("_RECORDER", default=None)


@contextmanager
def recording() -> Iterator[Recorder]:
    """Within it, calls made in this context are noted in the recorder that it yields."""
    recorder = Recorder()
    token = _RECORDER.set(recorder)
    try:
        yield recorder
    finally:
        _RECORDER.reset(token)


def current_recorder() -> Recorder:
    """The recorder of this context; a new one outside of `recording`."""
    return _RECORDER.get() or Recorder()
