"""Calls in flight: one thread makes a call, and others wait for its reply."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipelines.gateway.call import CallFailed

T = TypeVar("T")

_LOOK_S = 0.05
"""Seconds between two checks whether to go on waiting."""


@dataclass(eq=False)
class Flight:
    """A call that one thread makes and others wait for."""

    landed: threading.Event = field(default_factory=threading.Event)
    failure: CallFailed | None = None
    """How the call failed, for all of them."""


class Flights:
    """The calls and races of one gateway that are being made, by their keys. Safe for threads."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._lock = threading.Lock()

    def once(
        self,
        key: str,
        recorded: Callable[[], T | None],
        make: Callable[[], T],
        check: Callable[[], None],
    ) -> T:
        """What is recorded; else what one thread makes while all others wait for it.

        Who waits calls `check` now and then; what it raises ends the wait. A `CallFailed` of
        `make` is raised for all who wait. After anything else that it raises, another makes it.
        """
        found = recorded()
        while found is None:
            flight, mine = self.join(key)
            if mine:
                found = self.fly(key, flight, recorded, make)
            else:
                found = self._wait_for(flight, recorded, check)
        return found

    def fly(
        self, key: str, flight: Flight, recorded: Callable[[], T | None], make: Callable[[], T]
    ) -> T:
        """Make what was joined as the caller's own, and land."""
        try:
            found = recorded()  # another thread may have landed between the look and the join
            return make() if found is None else found
        except CallFailed as failure:
            flight.failure = failure
            raise
        finally:
            self.land(key)

    def join(self, key: str) -> tuple[Flight, bool]:
        """The flight that makes this call, and whether it is the caller's to make."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            self._flights[key] = flight = Flight()
            return flight, True

    def land(self, key: str) -> None:
        """The call is over: let those go on who wait for it."""
        with self._lock:
            self._flights.pop(key).landed.set()

    def _wait_for(
        self, flight: Flight, recorded: Callable[[], T | None], check: Callable[[], None]
    ) -> T | None:
        """Another thread's result; None if it ended without one for a reason of its own."""
        while not flight.landed.wait(_LOOK_S):
            check()
        if flight.failure is not None:
            raise flight.failure
        return recorded()
