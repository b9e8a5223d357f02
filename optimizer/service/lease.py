"""A worker's hold on one search: renewed in the background, and asked before every call."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError

from optimizer.service.database import Database
from optimizer.service.queue import Event, Leased, WorkerFacts, record_heartbeat, renew
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import CallFailed
from pipelines.gateway.concurrency import LOOK_S
from pipelines.gateway.concurrency.limits import Limit, ProviderGate
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.secrets import encodable, redacted
from pipelines.gateway.storage.store import StoreError

logger = logging.getLogger(__name__)

BEATS = 10
"""How often a lease is renewed in the time for which it holds."""


def clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system counts them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Lease:
    """The hold on one search.

    It holds for `seconds` after the beginning of the last renewal. The database counts from a later
    moment, so a worker knows that it has lost a search before another one can take it.

    Args:
        database: of the service.
        worker: who holds it.
        leased: the search.
        seconds: how long a renewal holds.
        began: when it was taken, by `clock`.
        interrupt: called once, in another thread, when the search is to stop or is lost.
    """

    def __init__(
        self, database: Database, worker: WorkerFacts, leased: Leased, seconds: float, began: float,
        interrupt: Callable[[], None],
    ) -> None:  # fmt: skip
        self.stop = leased.stop
        """Whether the user asked the search to stop."""
        self.lost = False
        """Whether the search is in other hands."""
        self.gateway: LeasedGateway | None = None
        """Knows what was spent, once it is there."""
        self._database, self._worker, self._leased = database, worker, leased
        self._seconds, self._until = seconds, began + seconds
        self._interrupt = interrupt
        self._events: list[Event] = []
        self._progress: dict[str, Any] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()

    @property
    def holds(self) -> bool:
        """Whether no other worker can have the search."""
        return not self.lost and clock() < self._until

    def note(self, kind: str, data: Mapping[str, Any], **progress: Any) -> None:
        """Keep an event, and how far the search is, until the next renewal."""
        with self._lock:
            self._events.append((kind, data))
            self._progress |= progress

    def take_events(self) -> list[Event]:
        """The events that are not written down yet."""
        with self._lock:
            events, self._events = self._events, []
        return events

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Within it, the lease is renewed in a thread."""
        thread = threading.Thread(target=self._renew_often, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _renew_often(self) -> None:
        while not self._ended.wait(self._seconds / BEATS):
            try:
                self._renew()
            except (OperationalError, InterfaceError) as error:  # calls wait until it is back
                logger.warning("the service's database can't be used now: %s", error)
            except Exception as error:  # without a thread that renews it, the search is lost
                logger.warning("a lease can't be renewed: %s", redacted(encodable(error)))
                self.lost = True
            if self.lost:
                self._interrupt()
                return

    def _renew(self) -> None:
        began, events, was_stopping = clock(), self.take_events(), self.stop
        try:
            spent = self.gateway.spent if self.gateway else (0.0, 0)
            progress = dict(self._progress)
            stop = renew(self._database, self._leased, self._seconds, spent, progress, events)
            record_heartbeat(self._database, self._worker)
        except (OperationalError, InterfaceError):
            with self._lock:
                self._events[:0] = events
            raise
        if stop is None:
            self.lost = True
            return
        self._until, self.stop = began + self._seconds, stop
        if stop and not was_stopping:
            self._interrupt()


class LeasedGateway(Gateway):
    """A gateway whose calls are made only while a search is held, on the account of that search."""

    def __init__(self, folder: Path, search: str, lease: Lease, **options: Any) -> None:
        super().__init__(folder, **options)
        self._search, self._lease = search, lease
        self._session: Session | None = None
        self._spent = (0.0, 0)

    def session(self, study: str = "", budget: Budget | None = None) -> Session:
        """The account of the search, whatever the study: its calls are no other search's."""
        self._session = super().session(self._search, budget)
        return self._session

    def gate(self, provider: str) -> ProviderGate:
        """See `Gateway`."""
        return self._gates.setdefault(provider, _LeasedGate(self.limit(provider), self._lease))

    @property
    def spent(self) -> tuple[float, int]:
        """Dollars and calls of the search so far, in all processes; the last known where the cache
        can't be read, which the search itself reports."""
        with suppress(StoreError):
            spent = self.store.spent(self._search)
            self._spent = spent.usd, spent.calls
        return self._spent

    def settled(self) -> tuple[float, int]:
        """What was spent once no call is in flight, also of those that died with their worker."""
        if self._session is not None:
            self._session.stop()
            self._session.drain()
        session = super().session(self._search)
        return session.spent.usd, session.spent.calls


class _LeasedGate(ProviderGate):
    """Lets a call through while the search is held; where that is unknown, the call waits."""

    def __init__(self, limit: Limit, lease: Lease) -> None:
        super().__init__(limit)
        self._lease = lease

    async def enter(self, check: Callable[[], None]) -> None:
        await super().enter(check)
        try:
            while not self._lease.holds:
                if self._lease.lost:
                    raise CallFailed("lost", "the search is in other hands", sent=False)
                await asyncio.sleep(LOOK_S)
                check()
        except BaseException:
            self.leave()
            raise
