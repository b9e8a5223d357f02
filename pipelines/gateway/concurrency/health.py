"""Availability of providers and models: waiting for outages to end, probing, and giving up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.concurrency import LOOK_S
from pipelines.gateway.failures import SET_ASIDE

logger = logging.getLogger(__name__)

_FIRST_PROBE_S, _LAST_PROBE_S = 0.5, 5.0
"""Between two tries to connect: doubling from the first to the last."""
_WARN_EVERY_S = 10.0
_NEVER_CONNECTED_S = 10.0
"""How long a provider may be away that was never reached."""
NEVER_ANSWERED = 3
"""So many calls without an answer in time set a model aside that never gave one."""
PATIENCE, FEWEST_REPLIES, SHORTEST_S = 5.0, 20, 30.0
"""A call is given up after so many times the longest of its model's latencies, once there are so
many replies, but not before so many seconds."""


class Connection:
    """The connection to one provider, or to a model that it loads.

    While it is down one call tries, and all others wait.
    """

    def __init__(self, what: str, outage_s: float, *, reached: bool = False) -> None:
        """`what` describes the outage in messages; `reached` says whether it was reached before."""
        self._what = what
        self._outage_s = outage_s
        self._away_since: float | None = None
        self._next_try = 0.0
        self._pause = _FIRST_PROBE_S
        self._trying = False
        self._warned_at = 0.0
        self._was_connected = reached
        self.given_up: str | None = None
        """Why no call is made any more; None while they are."""

    async def enter(self, check: Callable[[], None]) -> bool:
        """Wait until a call may try; return whether it is the one that tries for all.

        `check` is called while waiting; what it raises ends the wait.
        """
        while self._away_since is not None and self.given_up is None:
            if not self._trying and time.monotonic() >= self._next_try:
                self._trying = True
                return True
            await asyncio.sleep(LOOK_S)
            check()
        return False

    def connected(self) -> None:
        """Note that something was sent."""
        if self._away_since is not None:
            logger.warning("%s: no longer", self._what)
        self._was_connected = True
        self._away_since, self._pause = None, _FIRST_PROBE_S

    def away(self, detail: str) -> None:
        """Note that nothing connected: it is tried again later, or given up after a long outage."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        if self.given_up is not None or now < self._next_try:
            return  # it was in flight when another one failed
        self._next_try = now + self._pause
        self._pause = min(2 * self._pause, _LAST_PROBE_S)
        gone = now - self._away_since
        longest_s = self._outage_s
        if not self._was_connected:
            longest_s = min(longest_s, _NEVER_CONNECTED_S)
        if gone >= longest_s:
            self.given_up = f"{self._what} for {gone:.0f} s"
            logger.warning("%s: given up for this run", self.given_up)
        elif now - self._warned_at > _WARN_EVERY_S:
            self._warned_at = now
            logger.warning(
                "%s; trying again for up to %.0f s (Gateway(outage_s=...))",
                detail, longest_s - gone,
            )  # fmt: skip

    def leave(self) -> None:
        """Note that the call that tried for all has ended."""
        self._trying = False


class Pace:
    """How fast one model answers, and whether it does at all."""

    def __init__(self, timeout_s: float, outage_s: float) -> None:
        self._timeout_s = timeout_s
        self._outage_s = outage_s
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
        """Note a reply, whatever it says."""
        self._replies += 1
        self._longest_s = max(self._longest_s, latency_s)
        self._late, self.given_up = 0, None

    def late(self, waited_s: float) -> None:
        """Note that it did not reply in time."""
        now = time.monotonic()
        self._longest_s = max(self._longest_s, waited_s)  # the next one gets longer
        if not self._late:
            self._late_since = now - waited_s
        self._late += 1
        silent = now - self._late_since
        never = not self._replies and self._late >= NEVER_ANSWERED
        if never or silent >= self._outage_s:
            self.given_up = f"no answer in time to {self._late} calls in a row"


class Health:
    """Availability of what one study asks. Written on the event loop, read from any thread."""

    def __init__(self, timeout_s: float, outage_s: float) -> None:
        self._timeout_s = timeout_s
        self._outage_s = outage_s
        self._connections: dict[str, Connection] = {}
        self._loading: dict[str, Connection] = {}
        self._paces: dict[str, Pace] = {}
        self._addresses: dict[str, str] = {}

    def connection(self, call: LMCall) -> Connection:
        """The connection to the call's provider, from now on that of the call's model."""
        address = call.model.provider
        self._addresses[call.model.label] = address
        what = f"no connection to {call.model.address or address}"
        return self._connections.setdefault(address, Connection(what, self._outage_s))

    @asynccontextmanager
    async def reachable(self, call: LMCall, check: Callable[[], None]) -> AsyncIterator[None]:
        """Wait until the call's provider and model can be reached, as far as is known.

        `check` is called before, while waiting and after; what it raises ends the wait.
        """
        check()
        trying = []
        try:
            for connection in (self.connection(call), self._loading.get(call.model.label)):
                if connection is not None and await connection.enter(check):
                    trying.append(connection)
            check()
            yield
        finally:
            for connection in trying:
                connection.leave()

    def note_away(self, call: LMCall, failure: CallFailed) -> None:
        """Note that nothing connected, or that the server still loads the model."""
        if not failure.sent:
            self.connection(call).away(str(failure))
            return
        what = f"{call.model.label} was being loaded by its server"
        loading = Connection(what, self._outage_s, reached=True)
        self._loading.setdefault(call.model.label, loading).away(str(failure))

    def note_reply(self, call: LMCall) -> None:
        """Note that the model replied."""
        self.connection(call).connected()
        if loading := self._loading.get(call.model.label):
            loading.connected()

    def pace(self, call: LMCall) -> Pace:
        """How fast the call's model answers."""
        return self._paces.setdefault(call.model.label, Pace(self._timeout_s, self._outage_s))

    def check(self, call: LMCall) -> None:
        """Raise `CallFailed` if the call's model was set aside."""
        if reason := self.reason(call.model.label):
            raise SET_ASIDE.failure(call, reason)

    def reason(self, label: str) -> str | None:
        """Why a model was set aside; None if it was not."""
        connection = self._connections.get(self._addresses.get(label, ""))
        parts = (self._paces.get(label), self._loading.get(label), connection)
        return next((part.given_up for part in parts if part and part.given_up), None)

    @property
    def set_aside(self) -> dict[str, str]:
        """Models that are not asked any more, by label, and why."""
        labels = list(self._addresses)
        return {label: reason for label in labels if (reason := self.reason(label))}
