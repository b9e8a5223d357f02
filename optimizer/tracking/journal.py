"""Events on disk until MLflow has them: one folder per run, safe against a kill at any moment.

Every event is appended before it is queued, and marked when it is logged. A folder whose lock is
free belongs to a process that is gone, and holds what is still to be logged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from optimizer.tracking.events import Event, end_event

logger = logging.getLogger(__name__)

_EVENTS = "events.jsonl"
_LOCK = "owner.lock"


class Journal:
    """The events of one run that are still to be logged, in order. `Delivery` locks it."""

    def __init__(self, folder: Path, lock: filelock.BaseFileLock | None) -> None:
        self.folder = folder
        """Holds the events, and the files that go with them."""
        self.run: dict[str, str] = {}
        """`run_id` and `experiment_id`, once the run was started in MLflow."""
        self._file_lock = lock
        self._pending: deque[Event] = deque()
        self._count = 0
        self.kept = lock is not None
        """Whether pending events survive this process."""
        self.resumed = False
        """Whether an earlier process wrote it."""

    @classmethod
    def create(cls, parent: Path, store: str) -> Journal:
        """A new journal; in a temporary folder, and not resumable, if `parent` is read-only."""
        folder = parent / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir(parents=True)
            lock = filelock.FileLock(folder / _LOCK, thread_local=False)
            lock.acquire(timeout=1)
        except OSError as error:
            logger.warning(
                "events that MLflow does not take won't be kept: %s can't be written (%s)",
                parent, error,
            )  # fmt: skip
            return cls(Path(tempfile.mkdtemp(prefix="compound-optimizer-")), None)
        journal = cls(folder, lock)
        journal._write({"store": store})
        return journal

    @property
    def first(self) -> Event | None:
        """The next event to log."""
        return self._pending[0] if self._pending else None

    def __len__(self) -> int:
        """How many events are pending."""
        return len(self._pending)

    def append(self, event: Event) -> None:
        """Add an event, to be kept until it is logged."""
        event = dataclasses.replace(event, id=f"{self.folder.name}/{self._count}")
        self._count += 1
        self._write(dataclasses.asdict(event))
        self._pending.append(event)

    def logged(self, event: Event) -> None:
        """Drop the first event, which is logged, or refused for good."""
        self._pending.popleft()
        self._write({"logged": event.id, **self.run})

    def close(self) -> None:
        """Remove the folder if nothing is pending; else leave it for the next process."""
        done = not len(self)
        if self._file_lock is not None:
            self._file_lock.release()
        if done or not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, line: Any) -> None:
        if not self.kept:
            return
        try:
            with (self.folder / _EVENTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            self.kept = False
            logger.warning("the tracking journal %s can't be written: %s", self.folder, error)

    def _read(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if "kind" in line:
                self._count += 1
                self._pending.append(Event(**line))
            elif "logged" in line:
                self.run = {k: v for k, v in line.items() if k != "logged"}
                self._pending = deque(e for e in self._pending if e.id != line["logged"])
        self.resumed = True
        with (self.folder / _EVENTS).open("a", encoding="utf-8") as file:
            file.write("\n")  # a line that a kill cut short must not swallow the next
        if not any(line.get("kind") == "end" for line in lines):
            self.append(end_event("KILLED", "its process ended before the run did"))


def leftovers(parent: Path, store: str) -> Iterator[Journal]:
    """Journals of dead processes for this store, oldest first, now locked by this process."""
    for folder in sorted(path.parent for path in parent.glob(f"*/{_EVENTS}")):
        lock = filelock.FileLock(folder / _LOCK, thread_local=False)
        with contextlib.suppress(filelock.Timeout, OSError):
            lock.acquire(blocking=False)
            try:
                lines = list(_lines(folder / _EVENTS))
                if lines and lines[0].get("store") == store:
                    journal = Journal(folder, lock)
                    journal._read(lines[1:])
                    yield journal
                    continue
            except (AttributeError, KeyError, TypeError) as error:  # another version wrote it
                (folder / _EVENTS).rename(folder / f"{_EVENTS}.unreadable")
                logger.warning("the tracking journal %s can't be read (%s)", folder, error)
            lock.release()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """What can be read; a kill may have cut the last line short."""
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(text)
