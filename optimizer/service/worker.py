"""A worker: takes searches from the queue, one at a time, and runs them in its main thread."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from optimizer.search.records.trial import shortened
from optimizer.service import queue
from optimizer.service.database import Database
from optimizer.service.lease import Lease, LeasedGateway, clock
from optimizer.service.materials import Folders, opened
from optimizer.service.queue import Ending, Leased, WorkerFacts
from optimizer.signals import EndedBySignal
from optimizer.version import library_version
from pipelines.gateway.gateway import default_cache_folder
from pipelines.gateway.model import Model
from pipelines.gateway.secrets import encodable, redacted
from pipelines.gateway.storage.store import StoreError

if TYPE_CHECKING:
    from optimizer.search.records.trial import Trial

logger = logging.getLogger(__name__)

LEASE_S = 20.0
"""How long a search stays with a worker that gives no sign of life."""
POLL_S = 0.5
"""Between two looks at an empty queue."""
_HEARTBEAT_S = 10.0
"""Between two signs of life of a worker without a search."""


class Worker:
    """Runs searches until a signal ends it; the search in its hands then goes back to the queue.

    Args:
        database: of the service.
        folders: whose code it may run, and whose files it may read.
        lease_s: how long a search stays with it when it gives no sign of life.
        parent: the process that started it, with which it ends; None for none.
        version: of the package.
    """

    def __init__(
        self,
        database: Database,
        folders: Folders,
        *,
        lease_s: float = LEASE_S,
        parent: int | None = None,
        version: str | None = None,
    ) -> None:
        self._database, self._folders = database, folders
        self._lease_s, self._parent = lease_s, parent
        self._cache = default_cache_folder() / "service"
        self.facts = WorkerFacts(
            uuid.uuid4().hex, version or library_version(), _cache_id(self._cache), [*folders]
        )
        self._ending = False
        self._searching = False

    def run(self) -> None:
        """Run searches; returns after SIGTERM, SIGINT or SIGHUP, or when the parent has ended."""
        import optimizer.loop
        import optimizer.tracking.outputs  # noqa: F401  before a lease runs, for it takes seconds

        handlers = {
            **dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), self._on_end),
            signal.SIGUSR1: self._on_interrupt,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        if self._parent is not None:
            threading.Thread(target=_end_with, args=[self._parent], daemon=True).start()
        next_heartbeat = 0.0
        try:
            while not self._ending:
                try:
                    if clock() >= next_heartbeat:
                        queue.record_heartbeat(self._database, self.facts)
                        next_heartbeat = clock() + _HEARTBEAT_S
                    if not self._take_one():
                        time.sleep(POLL_S)
                except SQLAlchemyError as error:
                    logger.warning("the service's database can't be used now: %s", error)
                    time.sleep(POLL_S)
        finally:
            with suppress(SQLAlchemyError):
                queue.remove_worker(self._database, self.facts)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take_one(self) -> bool:
        """Run one search, if one is waiting."""
        began = clock()
        leased = queue.lease(self._database, self.facts, self._lease_s)
        if leased is None:
            return False
        lease = Lease(self._database, self.facts, leased, self._lease_s, began, self._interrupt)
        try:
            with lease.renewing(), _warnings(lease):
                ended = self._ended(leased, lease)
                if not lease.lost:
                    self._write(leased, lease, ended)
        finally:
            if lease.gateway is not None:
                lease.gateway.close()
        return True

    def _ended(self, leased: Leased, lease: Lease) -> Ending:
        """Run the search; how it ended. A cache that can't be used ends it as failed."""
        try:
            folder = self._cache / leased.token
            lease.gateway = gateway = LeasedGateway(folder, leased.id, lease)
            ending = self._search(leased, lease, gateway)
            usd, calls = (None, None) if lease.lost else gateway.settled()
        except StoreError as error:
            return Ending("failed", None, None, error=_failure(leased, error))
        return Ending(spent_usd=usd, spent_calls=calls, **ending)

    def _search(self, leased: Leased, lease: Lease, gateway: LeasedGateway) -> dict[str, Any]:
        """The search, and how it ends: the fields of an `Ending` but for what was spent."""
        from optimizer import optimize
        from optimizer.service.artifacts import result_files

        if lease.stop:
            return {"state": "stopped"}
        if leased.lost >= queue.MOST_LOST:
            error = f"{leased.lost} workers in a row were lost with it (killed, or out of memory?)"
            return {"state": "failed", "error": error}
        models = {label: Model(**form) for label, form in leased.models.items()}
        best: float | None = None

        def check() -> None:
            if lease.stop or lease.lost or self._ending:
                raise EndedBySignal(signal.SIGTERM)

        def on_trial(trial: Trial) -> None:
            nonlocal best
            if trial.status == "complete" and trial.score is not None:  # on all search examples
                best = max(best or 0.0, trial.score.mean)
            baseline = {"baseline": best} if trial.number == 0 else {}
            where = {"stage": trial.stage, "turn": trial.turn}
            lease.note("trial", _trial(trial), best=best, **where, **baseline)
            check()  # the exception of a signal gets lost where it comes within a destructor

        try:
            with opened(leased.request, leased.dataset, self._folders, models) as arguments:
                self._searching = True
                check()  # of a signal that came before
                result = optimize(**arguments, gateway=gateway, on_trial=on_trial)
                self._searching = False
                return {"state": "done", **result_files(result)}
        except KeyboardInterrupt:
            return {"state": "stopped" if lease.stop else "queued"}
        except (Exception, SystemExit) as error:
            return {"state": "failed", "error": _failure(leased, error)}
        finally:
            self._searching = False

    def _write(self, leased: Leased, lease: Lease, ended: Ending) -> None:
        """Write down how the search ended, also where the database is away for a while."""
        events, is_refused = lease.take_events(), False
        while not lease.lost:
            try:
                queue.end(self._database, leased, ended, events)
                return
            except (OperationalError, InterfaceError) as error:
                logger.warning("the service's database can't be used now: %s", error)
                if self._ending:  # another worker goes through it again, from the cache
                    return
                time.sleep(POLL_S)
            except (SQLAlchemyError, ValueError) as error:  # it would be refused again
                if is_refused:
                    raise
                reason = f"what it found can't be written: {_failure(leased, error)}"
                ended = Ending("failed", ended.spent_usd, ended.spent_calls, error=reason)
                events, is_refused = [], True

    def _interrupt(self) -> None:
        """From another thread: end the search in the main thread."""
        os.kill(os.getpid(), signal.SIGUSR1)

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True
        self._on_interrupt(number, frame)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._searching:
            self._searching = False  # a second signal would give up the calls in flight
            raise EndedBySignal(number)


def _failure(leased: Leased, error: BaseException) -> str:
    """Log why the search failed, and return that without secrets."""
    trace = "".join(traceback.format_exception(error))
    logger.warning("search %s failed\n%s", leased.id, redacted(encodable(trace)))
    return redacted(encodable(error)) or type(error).__name__


def _cache_id(folder: Path) -> str:
    """What tells this folder of answers from those of other machines; made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "id"
    if not path.exists():
        draft = folder / uuid.uuid4().hex
        draft.write_text(draft.name, encoding="utf-8")
        with suppress(FileExistsError):
            os.link(draft, path)  # whole, and only once
        draft.unlink()
    return path.read_text(encoding="utf-8")


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _trial(trial: Trial) -> dict[str, Any]:
    """What its event says."""
    score = trial.score and trial.score.named("score")
    return {
        "number": trial.number,
        "stage": trial.stage,
        "turn": trial.turn,
        "changed": shortened(redacted(trial.changed), 500),
        "status": trial.status,
        **(score or {}),
        "examples": trial.examples,
        "usd_per_example": trial.usd_per_example,
        "seconds": trial.seconds,
    }


class _Warnings(logging.Handler):
    """Notes what the search warns of as events."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(logging.WARNING)
        self._lease = lease

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        if record.name.startswith("optimizer.service"):
            return
        self._lease.note("warning", {"message": redacted(record.getMessage())})


@contextmanager
def _warnings(lease: Lease) -> Iterator[None]:
    handler = _Warnings(lease)
    loggers = [logging.getLogger(name) for name in ("optimizer", "evaluators", "pipelines")]
    for each in loggers:
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in loggers:
            each.removeHandler(handler)
