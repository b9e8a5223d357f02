"""Rate limits of a provider: calls in flight, calls per minute, and the pauses it asks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from pydantic import ConfigDict, Field, StrictBool, StrictFloat
from pydantic.dataclasses import dataclass

from pipelines.gateway.concurrency import LOOK_S
from search_spaces.refusals import Whole, refusing_with


@refusing_with(ValueError)
@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Batch:
    """The batch endpoint of a provider, in OpenAI's form: replies that cost less and come later."""

    price: StrictFloat = Field(default=0.5, gt=0, lt=1)
    """What a batched call costs, as a share of its price otherwise."""
    within_s: StrictFloat = Field(default=86_400.0, gt=0, allow_inf_nan=False)
    """Seconds within which the provider has always answered: no batch is sent with less left of
    `Budget(seconds=...)`."""
    min_calls: Whole = Field(default=10, ge=1)
    """Fewest calls that are worth a batch; where fewer wait, they are made directly."""


@refusing_with(ValueError)
@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Limit:
    """What one provider allows."""

    concurrency: Whole = Field(default=64, ge=1)
    """Most calls in flight at once."""
    requests_per_minute: StrictFloat | None = Field(default=None, gt=0)
    """Most calls started a minute; None does not limit."""
    bills_cancelled: StrictBool = True
    """Whether it charges in full for a request that is cut off: a fact about it that you state.

    True, the safe assumption, charges a call that was cut off its whole reservation. False
    charges what it is likely to have written until then; where the provider charges more than
    that, the caps do not hold.
    """
    batch: Batch | None = None
    """Its batch endpoint; None does not use one."""


class ProviderGate:
    """Lets calls to one provider through as its limit allows. On the event loop."""

    def __init__(self, limit: Limit) -> None:
        self._slots = asyncio.BoundedSemaphore(limit.concurrency)
        self._interval = 60.0 / limit.requests_per_minute if limit.requests_per_minute else 0.0
        self._next_start = 0.0

    async def enter(self, check: Callable[[], None]) -> None:
        """Take one of the provider's slots, at a moment when its rate allows a call.

        Each `enter` must be followed by `leave`. `check` is called while waiting and just before
        entering; what it raises ends the wait.
        """
        await self._take_slot(check)
        try:
            check()
            while (wait := self._until_turn()) > 0:
                await asyncio.sleep(min(wait, LOOK_S))
                check()
        except BaseException:
            self._slots.release()
            raise

    def leave(self) -> None:
        """Give the slot back."""
        self._slots.release()

    def pause(self, seconds: float) -> None:
        """No call starts for that long: the provider said that it is too many."""
        self._next_start = max(self._next_start, time.monotonic() + seconds)

    async def _take_slot(self, check: Callable[[], None]) -> None:
        while self._slots.locked():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._slots.acquire()
                    return
            check()
        await self._slots.acquire()  # at once

    def _until_turn(self) -> float:
        """Seconds until a call may start; 0 takes the turn."""
        now = time.monotonic()
        if now >= self._next_start:
            self._next_start = now + self._interval
            return 0.0
        return self._next_start - now
