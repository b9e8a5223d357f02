"""The outcome of several calls of which the first to finish count."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.gateway.budget import PurposeSpend
from pipelines.gateway.call import LMCall, LMReply


@dataclass(frozen=True)
class CallRace:
    """Which calls finished first, what they answered, and what the others cost."""

    winners: tuple[int, ...]
    """Their places among the calls, in the order in which they finished."""
    replies: tuple[LMReply, ...]
    """Theirs, in the same order."""
    lost: tuple[PurposeSpend, ...]
    """By the place of each call, what it had written and was thrown away: nothing of the winners,
    nor of calls that were never sent."""

    @property
    def losers(self) -> PurposeSpend:
        """What was thrown away in all; calls that were never sent don't count."""
        return total(self.lost)

    @property
    def cost(self) -> PurposeSpend:
        """Of all calls, the first time that the race was held."""
        return total([*map(cost_of, self.replies), self.losers])

    @property
    def latency_s(self) -> float:
        """Seconds until the last winner had finished."""
        return max(reply.latency_s for reply in self.replies)


def race_key(calls: Sequence[LMCall], count: int) -> str:
    """SHA-256 over what is raced for and the keys of the calls, in their order.

    Raises:
        ValueError: fewer calls than `count`, two equal ones, or two purposes.
    """
    if not 1 <= count <= len(calls):
        raise ValueError(
            f"1 <= count <= calls must hold, but got count={count!r} of {len(calls)} calls"
        )
    keys = [call.key for call in calls]
    if len(set(keys)) < len(keys):
        raise ValueError("the calls of a race must differ in model or sample index; two are equal")
    purposes = sorted({call.purpose for call in calls})
    if len(purposes) > 1:
        raise ValueError(f"the calls of a race must share one purpose, but got {purposes}")
    return hashlib.sha256(json.dumps(["first_of", count, keys]).encode()).hexdigest()


def cost_of(reply: LMReply) -> PurposeSpend:
    """What a whole reply costs."""
    return PurposeSpend(reply.usd, 1, reply.input_tokens, reply.output_tokens)


def total(costs: Iterable[PurposeSpend]) -> PurposeSpend:
    """The sum of costs."""
    parts = list(costs)
    return PurposeSpend(
        math.fsum(part.usd for part in parts),
        sum(part.calls for part in parts),
        sum(part.input_tokens for part in parts),
        sum(part.output_tokens for part in parts),
    )
