"""Calls in flight: one task makes a call, and others wait for its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipelines.gateway.call import CallFailed
from pipelines.gateway.concurrency import LOOK_S

T = TypeVar("T")


class Flights:
    """The calls and races of one gateway that are being made, by their keys. On the event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Future[CallFailed | None]] = {}

    async def once(
        self,
        key: str,
        recorded: Callable[[], T | None],
        make: Callable[[], Awaitable[T]],
        check: Callable[[], None],
    ) -> T:
        """What is recorded; else what one task makes while all others wait for it.

        Waiting tasks call `check` now and then; what it raises ends the wait. A `CallFailed` of
        `make` is raised in all of them. After any other exception, another task makes it.
        """
        while (found := recorded()) is None:
            flight = self._flights.get(key)
            if flight is None:
                return await self._fly(key, make)
            while not flight.done():
                await asyncio.wait([flight], timeout=LOOK_S)
                check()
            if failure := flight.result():
                raise failure
        return found

    async def _fly(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        failed = None
        try:
            return await make()
        except CallFailed as failure:
            failed = failure
            raise
        finally:
            del self._flights[key]
            flight.set_result(failed)
