"""What is kept on disk: replies, reservations of calls in flight, and what was spent.

One SQLite file in WAL mode holds all three, so that a reply and the money it cost are written
in one transaction, and so that several processes agree (docs/decisions/002-cache-is-the-resume.md).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import filelock

from pipelines.llms.budget import PICO, PurposeSpend, Spend, picodollars
from pipelines.llms.call import LMReply

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    usd REAL NOT NULL, latency_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS flights (
    key TEXT PRIMARY KEY, study TEXT NOT NULL, purpose TEXT NOT NULL,
    owner TEXT NOT NULL, picodollars INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spend (
    study TEXT NOT NULL, purpose TEXT NOT NULL, picodollars INTEGER NOT NULL,
    calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    PRIMARY KEY (study, purpose)) WITHOUT ROWID;
"""


class StoreError(OSError):
    """A cache folder that can't be used."""


class Caps(NamedTuple):
    """Most that a study may have spent, with what its calls in flight may still cost."""

    picodollars: int | None
    calls: int | None


class Claim(Enum):
    """What came of asking for the right to make a call."""

    GRANTED = "reserved: make the call, then settle"
    ANSWERED = "the reply is there"
    IN_FLIGHT = "another process is making this very call"
    NO_ROOM_YET = "it does not fit now, but calls in flight may leave room when they settle"
    NO_ROOM = "it does not fit"


class Store:
    """The file behind a gateway. Safe for threads and for processes."""

    def __init__(self, folder: Path | None) -> None:
        """Open or create the file in `folder`; None keeps everything in memory.

        A file that SQLite can't read is set aside under another name, with a warning.

        Raises:
            StoreError: the folder can't be written, or the file not opened.
        """
        self._lock = threading.RLock()
        self._owner = uuid.uuid4().hex
        self._owners = folder / "owners" if folder else None
        self._alive = self._announce_owner()
        self._connection = _open(folder) if folder else _connect(":memory:")
        # also when the process ends: else every process would leave its lock file behind
        self._closing = weakref.finalize(self, _close, self._connection, self._alive, os.getpid())

    def reply(self, key: str) -> LMReply | None:
        """The recorded reply, or None. Errors are never recorded."""
        with self._lock:
            row = self._connection.execute(
                "SELECT text, finish_reason, input_tokens, output_tokens, usd, latency_s "
                "FROM replies WHERE key = ?",
                (key,),
            ).fetchone()
        return replace(LMReply(*row), cached=True) if row else None

    def claim(self, key: str, study: str, purpose: str, worst_usd: float, caps: Caps) -> Claim:
        """Reserve the worst cost of a call, unless it is answered, in flight, or over a cap."""
        worst = picodollars(worst_usd) + 1  # rounding must not hide a fraction
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM replies WHERE key = ?", (key,)).fetchone():
                return Claim.ANSWERED
            # A gateway makes each call once at a time: its own flight was cut off by ctrl-C.
            self._settle_orphans(db, "key", key, cut_off=self._owner)
            if db.execute("SELECT 1 FROM flights WHERE key = ?", (key,)).fetchone():
                return Claim.IN_FLIGHT
            if not self._has_room(db, study, worst, caps):
                self._settle_orphans(db, "study", study)  # nobody else will, while all wait
                flying = self._committed(db, study)[2]
                return Claim.NO_ROOM_YET if flying else Claim.NO_ROOM
            db.execute(
                "INSERT INTO flights VALUES (?, ?, ?, ?, ?)",
                (key, study, purpose, self._owner, worst),
            )
            return Claim.GRANTED

    def settle(
        self, key: str, study: str, purpose: str, reply: LMReply | None, *, billed: bool = False
    ) -> None:
        """Turn a reservation into what the call cost, and keep its reply.

        Without a reply the call counts; it costs its whole reservation if it may have been
        `billed`, and nothing if the provider refused it. What is settled already stays so.
        """
        with self._transaction() as db:
            reserved = self._remove_flight(db, key)
            usd = picodollars(reply.usd) if reply else (reserved or 0) if billed else 0
            tokens = (reply.input_tokens, reply.output_tokens) if reply else (0, 0)
            if reserved is not None:
                _add_spend(db, study, purpose, usd, *tokens)
            if reply:
                db.execute(
                    "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (key, reply.text, reply.finish_reason, *tokens, reply.usd, reply.latency_s),
                )

    def release(self, key: str) -> None:
        """Give a reservation back: the call was never sent."""
        with self._transaction() as db:
            self._remove_flight(db, key)

    def abandon(self, key: str) -> None:
        """Charge this process's reservation at its worst cost, if it was not settled."""
        with self._transaction() as db:
            self._settle_orphans(db, "key", key, cut_off=self._owner)

    def settle_orphans(self, study: str) -> None:
        """Charge what dead processes left in flight at its worst cost."""
        with self._transaction() as db:
            self._settle_orphans(db, "study", study)

    def spent(self, study: str) -> Spend:
        """What the study has paid so far, in this process and in earlier ones."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT purpose, picodollars, calls, input_tokens, output_tokens "
                "FROM spend WHERE study = ? ORDER BY purpose",
                (study,),
            ).fetchall()
        return Spend({purpose: PurposeSpend(usd / PICO, *rest) for purpose, usd, *rest in rows})

    def close(self) -> None:
        """Close the file. Calls still in flight then count as orphans."""
        with self._lock:
            self._closing()

    def _announce_owner(self) -> filelock.BaseFileLock | None:
        """Hold a lock that the operating system drops when this process dies, however it dies."""
        if self._owners is None:
            return None
        try:
            self._owners.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self._owners / f"{self._owner}.lock", thread_local=False)
            lock.acquire(blocking=False)
        except OSError as error:
            raise StoreError(
                f"the cache folder {str(self._owners.parent)!r} can't be written ({error}); "
                "choose another with Gateway(cache=...) or COMPOUND_OPTIMIZER_CACHE"
            ) from error
        return lock

    def _is_alive(self, owner: str) -> bool:
        if owner == self._owner or self._owners is None:
            return True
        path = self._owners / f"{owner}.lock"
        if not path.exists():
            return False
        lock = filelock.FileLock(path, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return True
        lock.release()
        path.unlink(missing_ok=True)
        return False

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _has_room(self, db: sqlite3.Connection, study: str, worst: int, caps: Caps) -> bool:
        usd, calls, _ = self._committed(db, study)
        over_usd = caps.picodollars is not None and usd + worst > caps.picodollars
        return not over_usd and (caps.calls is None or calls + 1 <= caps.calls)

    def _committed(self, db: sqlite3.Connection, study: str) -> tuple[int, int, int]:
        """Picodollars and calls spent or reserved, and how many calls are in flight."""
        spent, calls = db.execute(
            "SELECT COALESCE(SUM(picodollars), 0), COALESCE(SUM(calls), 0) "
            "FROM spend WHERE study = ?",
            (study,),
        ).fetchone()
        reserved, flying = db.execute(
            "SELECT COALESCE(SUM(picodollars), 0), COUNT(*) FROM flights WHERE study = ?", (study,)
        ).fetchone()
        return spent + reserved, calls + flying, flying

    def _settle_orphans(
        self, db: sqlite3.Connection, column: str, value: str, cut_off: str | None = None
    ) -> None:
        flights = db.execute(
            f"SELECT key, study, purpose, owner FROM flights WHERE {column} = ?", (value,)
        ).fetchall()
        owners = {owner for *_, owner in flights}
        dead = {owner for owner in owners if owner == cut_off or not self._is_alive(owner)}
        for key, study, purpose, owner in flights:
            if owner in dead:
                _add_spend(db, study, purpose, self._remove_flight(db, key) or 0, 0, 0)

    def _remove_flight(self, db: sqlite3.Connection, key: str) -> int | None:
        """What was reserved for it; None if it is not in flight."""
        rows = db.execute("DELETE FROM flights WHERE key = ? RETURNING picodollars", (key,))
        row = rows.fetchone()
        return int(row[0]) if row else None


def _close(
    connection: sqlite3.Connection, alive: filelock.BaseFileLock | None, process: int
) -> None:
    if os.getpid() != process:  # a fork that ends must not declare its parent dead
        return
    connection.close()
    if alive:
        alive.release()
        Path(alive.lock_file).unlink(missing_ok=True)


def _open(folder: Path) -> sqlite3.Connection:
    """Open the folder's file; one process at a time, so that only one sets it aside."""
    path = folder / "cache.sqlite"
    try:
        with filelock.FileLock(folder / "opening.lock"):
            return _connect_or_set_aside(path)
    except sqlite3.Error as error:
        raise StoreError(f"the cache {str(path)!r} can't be opened: {error}") from error


def _connect_or_set_aside(path: Path) -> sqlite3.Connection:
    try:
        return _connect(str(path))
    except sqlite3.OperationalError:  # locked, not readable, no room: nothing wrong with it
        raise
    except sqlite3.DatabaseError as error:
        _set_aside(path, error)
        return _connect(str(path))


def _set_aside(path: Path, error: sqlite3.DatabaseError) -> None:
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    logger.warning(
        "the cache %s is corrupt (%s): set aside as %s; a new one starts empty, "
        "so what earlier runs spent is not counted any more",
        path,
        error,
        aside.name,
    )


def _connect(path: str) -> sqlite3.Connection:
    """Open the file, check that SQLite can read all of it, and create what is missing.

    Autocommit, so that every transaction is written out in this module.
    """
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _add_spend(
    db: sqlite3.Connection, study: str, purpose: str, usd: int, inputs: int, outputs: int
) -> None:
    db.execute(
        "INSERT INTO spend VALUES (?, ?, ?, 1, ?, ?) ON CONFLICT (study, purpose) DO UPDATE SET "
        "picodollars = picodollars + excluded.picodollars, calls = calls + 1, "
        "input_tokens = input_tokens + excluded.input_tokens, "
        "output_tokens = output_tokens + excluded.output_tokens",
        (study, purpose, usd, inputs, outputs),
    )
