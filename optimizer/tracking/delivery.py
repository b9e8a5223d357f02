"""A queue of events, and one background thread that brings them to MLflow.

What the store does not take stays in a journal on disk, and goes in when the store is back: during
this run, or at the start of the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path

from optimizer.tracking.events import Event
from optimizer.tracking.journal import Journal, leftovers
from optimizer.tracking.store import TrackingStore
from optimizer.tracking.writer import EventWriter, Refused

logger = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""How long the end of a run waits for a store that says nothing."""
LONGEST_S = 120.0
"""How long it waits for one answer of a store that is there, but slow."""
RETRY_S = 5.0
"""How often a store that is away is tried again."""


class Delivery:
    """Brings one run's events to the store, and those that earlier processes left. For threads."""

    def __init__(self, store: TrackingStore, unlogged: Path) -> None:
        """`unlogged` is the folder of journals."""
        self._store = store
        self._unlogged = unlogged
        self._journal = Journal.create(unlogged, store.shown)
        self._others: deque[Journal] = deque()
        self._writer = EventWriter(store)
        self._changed = threading.Condition()
        self._problem: str | None = None
        """Why the store is away; None while it takes what it is given."""
        self._begun: set[str] = set()
        """Ids of events that an attempt may have left behind in part."""
        self._warned = self._closing = False
        self._hurry = False
        """Whether to try a store that is away without further waiting."""
        self._attempts = 0
        self._answered_at = time.monotonic()
        """When the thread last came back from the store."""
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    @property
    def folder(self) -> Path:
        """Where files that go with events are to be put."""
        return self._journal.folder

    def put(self, event: Event) -> None:
        """Take an event; returns at once."""
        with self._changed:
            self._journal.append(event)
            self._changed.notify_all()

    def run_id(self, patience_s: float) -> str | None:
        """The run's id; None if the store is away, or silent for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._journal.run or self._problem, patience_s)
        return self._journal.run.get("run_id")

    def close(self) -> None:
        """Wait until all is delivered, or there is no hope of it, and say what is kept."""
        try:
            self._wait_until_delivered()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
        self._thread.join(timeout=1.0)  # a call that hangs ends when it ends, or with the process
        if pending := len(self._journal):
            fate = "kept in %s; the next run logs it" if self._journal.kept else "lost (%s)"
            logger.warning(
                "MLflow at %s did not take %d events of this run (%s): " + fate,
                self._store.shown, pending, self._problem or "no answer", self._journal.folder,
            )  # fmt: skip

    def _wait_until_delivered(self) -> None:
        """Until another attempt failed, or the store has been silent too long."""
        with self._changed:
            before, self._answered_at, self._hurry = self._attempts, time.monotonic(), True
            self._changed.notify_all()
        while self._is_busy(before):
            silent_s = time.monotonic() - self._answered_at
            if silent_s > LONGEST_S or (silent_s > PATIENCE_S and self._store.problem()):
                return
            with self._changed:
                self._changed.wait(0.1)

    def _is_busy(self, attempts_before: int) -> bool:
        """Whether there is something to deliver, and hope that it will be."""
        with self._changed:
            if not self._thread.is_alive():
                return False
            if self._problem:
                return self._attempts == attempts_before
            return self._journal.first is not None or bool(self._others)

    def _work(self) -> None:
        """The thread: this run's events first, then those of earlier runs."""
        self._others.extend(leftovers(self._unlogged, self._store.shown))
        while (journal := self._next()) is not None:
            self._deliver_first(journal)
        for journal in (self._journal, *self._others):
            journal.close()

    def _next(self) -> Journal | None:
        """The next journal with something to log, as soon as there is one; None at the end."""
        with self._changed:
            while not self._closing:
                if self._problem and not self._hurry:
                    self._changed.wait_for(lambda: self._closing or self._hurry, RETRY_S)
                    self._hurry = True
                    continue
                for journal in (self._journal, *self._others):
                    if journal.first is not None:
                        self._hurry = False
                        return journal
                self._changed.wait()
            return None

    def _deliver_first(self, journal: Journal) -> None:
        """Try to log the journal's first event, and settle it if it is in, or never will be."""
        event = journal.first
        assert event is not None
        problem = self._store.problem() or self._attempt(event, journal)
        with self._changed:
            self._answered_at, self._attempts = time.monotonic(), self._attempts + 1
            if problem is None:
                journal.logged(event)
            if journal is self._journal:
                self._note(problem)
            elif problem is not None or journal.first is None:
                self._others.remove(journal)  # what it still holds waits for the next run
                journal.close()
            self._changed.notify_all()

    def _attempt(self, event: Event, journal: Journal) -> str | None:
        """Write the event; what went wrong, if it may still go in later."""
        again = journal.resumed or event.id in self._begun
        self._begun.add(event.id)
        try:
            self._writer.write(event, journal, again=again)
        except Refused as error:
            logger.warning(
                "MLflow at %s does not take this %s, so it is left out: %s",
                self._store.shown, event.kind, error,
            )  # fmt: skip
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        self._begun.discard(event.id)
        return None

    def _note(self, problem: str | None) -> None:
        """Remember whether the store is away; say so the first time."""
        self._problem = problem
        if problem is not None and not self._warned:
            self._warned = True
            where = f"kept in {self._journal.folder}" if self._journal.kept else "kept in memory"
            logger.warning(
                "MLflow at %s can't be written to (%s): the search goes on, and what it logs is "
                "%s until the store is back",
                self._store.shown, problem, where,
            )  # fmt: skip
