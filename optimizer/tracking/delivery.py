"""A queue of events, and one background thread that logs them to MLflow.

Events that the store does not take stay in a journal on disk, and are logged when the store is
back: during this run, or at the start of the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path

from optimizer.formatting import without_credentials
from optimizer.tracking.events import Event
from optimizer.tracking.journal import Journal, leftovers
from optimizer.tracking.store import TrackingStore
from optimizer.tracking.writer import EventWriter, Refused

logger = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""How long the end of a run waits for a store that does not answer."""
LONGEST_S = 120.0
"""How long it waits for one answer of a slow store."""
RETRY_S = 5.0
"""Pause between attempts to reach a store that is away."""


class Delivery:
    """Logs one run's events, and those left by earlier processes. Safe for threads."""

    def __init__(self, store: TrackingStore, unlogged: Path) -> None:
        """`unlogged` is the folder of journals."""
        self._store = store
        self._unlogged = unlogged
        self._journal = Journal.create(unlogged, store.shown)
        self._others: deque[Journal] = deque()
        self._writer = EventWriter(store)
        self._changed = threading.Condition()
        self._problem: str | None = None
        """Why the last attempt failed; None if it did not."""
        self._warned = self._closing = self._gave_up = False
        self._patience_s = PATIENCE_S
        """0 once a wait for the store was in vain."""
        self._answered_at = time.monotonic()
        """When the thread last came back from the store."""
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    @property
    def folder(self) -> Path:
        """For files that go with events."""
        return self._journal.folder

    def put(self, event: Event) -> None:
        """Take an event; returns at once."""
        with self._changed:
            self._journal.append(event)
            self._changed.notify_all()

    def run_id(self, patience_s: float) -> str | None:
        """The run's id; None if the store is away, or silent for so long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._journal.run or self._problem, patience_s):
                self._patience_s = 0.0
        return self._journal.run.get("run_id")

    def close(self) -> None:
        """Wait until all is delivered or one more attempt has failed, and warn of what is kept."""
        with self._changed:
            self._closing, self._answered_at = True, time.monotonic()
            self._changed.notify_all()
        while self._thread.is_alive():
            self._thread.join(0.1)
            silent_s = time.monotonic() - self._answered_at
            if silent_s > LONGEST_S or (silent_s > self._patience_s and self._store.problem()):
                break  # a call that hangs ends with the process
        if pending := len(self._journal):
            kept = "kept in %s; the next run that reaches it logs them"
            fate = kept if self._journal.kept else "lost (%s)"
            logger.warning(
                "MLflow at %s did not take %d events of this run (%s): " + fate,
                self._store.shown, pending, self._problem or "no answer", self._journal.folder,
            )  # fmt: skip

    def _work(self) -> None:
        """Log this run's events first, then those of earlier runs."""
        self._others.extend(leftovers(self._unlogged, self._store.shown))
        while (journal := self._next()) is not None:
            self._deliver_first(journal)
        for journal in (self._journal, *self._others):
            journal.close()

    def _next(self) -> Journal | None:
        """Wait for a journal with something to log; None at the end."""
        with self._changed:
            if self._problem:
                self._changed.wait_for(lambda: self._closing, RETRY_S)
            while not self._gave_up:
                for journal in (self._journal, *self._others):
                    if journal.first is not None:
                        return journal
                if self._closing:
                    break
                self._changed.wait()
            return None

    def _deliver_first(self, journal: Journal) -> None:
        """Try to log the journal's first event; drop it once it is logged or refused."""
        event = journal.first
        assert event is not None
        problem = self._store.problem() or self._attempt(event, journal)
        with self._changed:
            self._answered_at = time.monotonic()
            if problem is None:
                journal.logged(event)
            if journal is self._journal:
                self._note(problem)
            elif problem is not None or journal.first is None:
                self._others.remove(journal)  # what it still holds waits for the next run
                journal.close()
            self._changed.notify_all()

    def _attempt(self, event: Event, journal: Journal) -> str | None:
        """Write the event; returns the problem, if it is worth another attempt."""
        try:
            self._writer.write(event, journal, again=journal.resumed or bool(self._problem))
        except Refused as error:
            logger.warning(
                "MLflow at %s does not take this %s, so it is left out: %s",
                self._store.shown, event.kind, without_credentials(str(error)),
            )  # fmt: skip
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def _note(self, problem: str | None) -> None:
        """Remember whether the store is away; warn the first time."""
        problem = problem and without_credentials(problem)  # MLflow quotes the URI
        self._problem = problem
        self._gave_up = self._closing and problem is not None
        if problem is not None and not self._warned:
            self._warned = True
            where = f"kept in {self._journal.folder}" if self._journal.kept else "kept in memory"
            logger.warning(
                "MLflow at %s can't be written to (%s): the search goes on, and what it logs is "
                "%s until the store is back",
                self._store.shown, problem, where,
            )  # fmt: skip
