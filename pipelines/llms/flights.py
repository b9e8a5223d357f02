"""Calls in the air: who makes a call, and who waits for its reply."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from pipelines.llms.call import CallFailed


@dataclass(eq=False)
class Flight:
    """A call that one thread makes and others wait for."""

    landed: threading.Event = field(default_factory=threading.Event)
    failure: CallFailed | None = None
    """How the call failed, for all of them."""


class Flights:
    """The calls of one gateway that are being made, by their keys. Safe for threads."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._lock = threading.Lock()

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
