"""Whether a provider can be reached and a model answers: who waits, who asks, who gives up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pipelines.gateway.call import LMCall
from pipelines.gateway.failures import SET_ASIDE

logger = logging.getLogger(__name__)

_LOOK_S = 0.05
"""Seconds between two checks whether to go on waiting."""
_FIRST_PROBE_S, _LAST_PROBE_S = 0.5, 5.0
"""Between two tries to connect: doubling from the first to the last."""
_SAID_EVERY_S = 10.0
_NEVER_CONNECTED_S = 10.0
"""Of a provider that was never reached no more is expected."""
NEVER_ANSWERED = 3
"""So many calls without an answer in time set a model aside that never gave one."""
PATIENCE, FEWEST_REPLIES, SHORTEST_S = 5.0, 20, 10.0
"""A call is given up after so many times the longest of its model's latencies, once there are so
many replies, but not before so many seconds."""


class Connection:
    """The way to one provider. While nothing connects one call tries, and all others wait."""

    def __init__(self, address: str, outage_s: float) -> None:
        self._address = address
        self._outage_s = outage_s
        self._changed = threading.Condition()
        self._away_since: float | None = None
        self._next_try = 0.0
        self._pause = _FIRST_PROBE_S
        self._trying = False
        self._said = 0.0
        self._was_connected = False
        self.given_up: str | None = None
        """Why no call is made any more; None while they are."""

    def enter(self, check: Callable[[], None]) -> bool:
        """Wait until a call may try; whether it is the one that tries for all.

        Args:
            check: called while waiting; what it raises ends the wait.
        """
        with self._changed:
            while self._away_since is not None and self.given_up is None:
                if not self._trying and time.monotonic() >= self._next_try:
                    self._trying = True
                    return True
                self._changed.wait(_LOOK_S)
                check()
        return False

    def connected(self) -> None:
        """Something was sent."""
        if self._was_connected and self._away_since is None:
            return
        with self._changed:
            if self._away_since is not None:
                logger.warning("%s: connected again", self._address)
            self._was_connected = True
            self._away_since, self._pause = None, _FIRST_PROBE_S
            self._changed.notify_all()

    def away(self, detail: str) -> None:
        """Nothing connected: another try later, or none after an outage that is too long."""
        with self._changed:
            now = time.monotonic()
            if self._away_since is None:
                self._away_since = now
            self._next_try = now + self._pause
            self._pause = min(2 * self._pause, _LAST_PROBE_S)
            gone = now - self._away_since
            longest_s = self._outage_s
            if not self._was_connected:
                longest_s = min(longest_s, _NEVER_CONNECTED_S)
            if gone >= longest_s:
                self.given_up = f"no connection to {self._address} for {gone:.0f} s: is it there?"
                logger.warning("%s: given up for this search", self.given_up)
                self._changed.notify_all()
            elif now - self._said > _SAID_EVERY_S:
                self._said = now
                logger.warning(
                    "%s; trying again for up to %.0f s (Gateway(outage_s=...))",
                    detail, longest_s - gone,
                )  # fmt: skip

    def leave(self) -> None:
        """Whoever tried for all has ended, however it did."""
        with self._changed:
            self._trying = False
            self._changed.notify_all()


class Pace:
    """How fast one model answers, and whether it does at all. Safe for threads."""

    def __init__(self, timeout_s: float, outage_s: float) -> None:
        self._timeout_s = timeout_s
        self._outage_s = outage_s
        self._lock = threading.Lock()
        self._replies = 0
        self._longest_s = 0.0
        self._late = 0
        """Calls in a row that were given up."""
        self._late_since = 0.0
        self.given_up: str | None = None
        """Why it is not asked any more; None while it is."""

    @property
    def deadline_s(self) -> float:
        """How long to wait for a reply: the timeout, or less by what its replies took."""
        if self._replies < FEWEST_REPLIES:
            return self._timeout_s
        return min(self._timeout_s, max(SHORTEST_S, PATIENCE * self._longest_s))

    def answered(self, latency_s: float) -> None:
        """It replied, whatever it said."""
        with self._lock:
            self._replies += 1
            self._longest_s = max(self._longest_s, latency_s)
            self._late = 0

    def late(self, waited_s: float) -> None:
        """It did not reply in time."""
        with self._lock:
            now = time.monotonic()
            if not self._late:
                self._late_since = now - waited_s
            self._late += 1
            silent = now - self._late_since
            never = not self._replies and self._late >= NEVER_ANSWERED
            if never or silent >= self._outage_s:
                self.given_up = f"no answer in time to {self._late} calls in a row"


class Health:
    """Of all providers and models that one study asks."""

    def __init__(self, timeout_s: float, outage_s: float) -> None:
        self._timeout_s = timeout_s
        self._outage_s = outage_s
        self._connections: dict[str, Connection] = {}
        self._paces: dict[str, Pace] = {}
        self._addresses: dict[str, str] = {}
        self._lock = threading.Lock()

    def connection(self, call: LMCall) -> Connection:
        """The way to the call's provider."""
        address = call.model.provider
        with self._lock:
            self._addresses[call.model.label] = address
            found = self._connections.get(address)
            if found is None:
                found = self._connections[address] = Connection(address, self._outage_s)
            return found

    def pace(self, call: LMCall) -> Pace:
        """How fast the call's model answers."""
        with self._lock:
            found = self._paces.get(call.model.label)
            if found is None:
                found = self._paces[call.model.label] = Pace(self._timeout_s, self._outage_s)
            return found

    def check(self, call: LMCall) -> None:
        """Raise `CallFailed` if the call's model was set aside."""
        if reason := self.reason(call.model.label):
            raise SET_ASIDE.failure(call, reason)

    def reason(self, label: str) -> str | None:
        """Why a model was set aside; None if it was not."""
        pace = self._paces.get(label)
        connection = self._connections.get(self._addresses.get(label, ""))
        return (pace and pace.given_up) or (connection and connection.given_up) or None

    @property
    def set_aside(self) -> dict[str, str]:
        """Models that are not asked any more, by label, and why."""
        labels = list(self._addresses)
        return {label: reason for label in labels if (reason := self.reason(label))}
