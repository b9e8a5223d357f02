"""The store on disk: replies, races, reservations of calls in flight, and spend.

One SQLite file in WAL mode holds them all, so that a reply and the money it cost are written
in one transaction, and so that several processes agree (docs/decisions/002-cache-is-the-resume.md).
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import filelock

from pipelines.gateway.budget import PICO, PurposeSpend, Spend, picodollars
from pipelines.gateway.call import LMReply
from pipelines.gateway.races.call_race import CallRace

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
CREATE TABLE IF NOT EXISTS held_races (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, winners TEXT, losers TEXT);
CREATE TABLE IF NOT EXISTS durations (
    study TEXT NOT NULL, key TEXT NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (study, key)) WITHOUT ROWID;
"""


class StoreError(OSError):
    """A cache folder that can't be used."""


class Caps(NamedTuple):
    """Most that a study may have spent, with what its calls in flight may still cost."""

    picodollars: int | None
    calls: int | None


class Claim(Enum):
    """The outcome of asking for a reservation."""

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

    def claim(self, worst_usd: Mapping[str, float], study: str, purpose: str, caps: Caps) -> Claim:
        """Reserve the worst costs of calls, by their keys: of all that are not answered, or none.

        None are reserved if one is in flight, or if together they are over a cap.
        """
        with self._transaction() as db:
            worst = {
                key: picodollars(usd) + 1  # rounding must not hide a fraction
                for key, usd in worst_usd.items()
                if not _has(db, "replies", key)
            }
            if not worst:
                return Claim.ANSWERED
            for key in worst:
                # A gateway makes each call once at a time: its own flight was cut off by ctrl-C.
                self._settle_orphans(db, "key", key, cut_off=self._owner)
            if any(_has(db, "flights", key) for key in worst):
                return Claim.IN_FLIGHT
            if not self._has_room(db, study, worst.values(), caps):
                self._settle_orphans(db, "study", study)  # nobody else will, while all wait
                flying = self._committed(db, study)[2]
                return Claim.NO_ROOM_YET if flying else Claim.NO_ROOM
            db.executemany(
                "INSERT INTO flights VALUES (?, ?, ?, ?, ?)",
                [(key, study, purpose, self._owner, usd) for key, usd in worst.items()],
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
                _add_spend(db, study, purpose, usd, 1, *tokens)
            if reply:
                db.execute(
                    "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (key, *_columns(reply)),
                )

    def settle_cut_off(self, key: str, study: str, purpose: str, written: PurposeSpend) -> None:
        """Turn a reservation into what the call had written when it was cut off."""
        with self._transaction() as db:
            reserved = self._remove_flight(db, key)
            if reserved is not None:
                usd = min(picodollars(written.usd), reserved)
                tokens = (written.input_tokens, written.output_tokens)
                _add_spend(db, study, purpose, usd, 1, *tokens)

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

    def race(self, key: str) -> CallRace | None:
        """The recorded outcome of a race, or None; also while another process holds it."""
        with self._lock:
            row = self._connection.execute(
                "SELECT winners, losers FROM held_races WHERE key = ? AND winners IS NOT NULL",
                (key,),
            ).fetchone()
        if not row:
            return None
        winners, losers = map(json.loads, row)
        places, replies = zip(*winners, strict=True)
        recorded = tuple(replace(LMReply(*reply), cached=True) for reply in replies)
        return CallRace(places, recorded, tuple(PurposeSpend(*lost) for lost in losers))

    def claim_race(self, key: str) -> bool:
        """Whether the race is this process's to hold: neither recorded nor held by another."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT owner, winners FROM held_races WHERE key = ?", (key,)
            ).fetchone()
            if row and (row[1] is not None or (row[0] != self._owner and self._is_alive(row[0]))):
                return False
            db.execute(
                "INSERT OR REPLACE INTO held_races (key, owner) VALUES (?, ?)", (key, self._owner)
            )
            return True

    def keep_race(
        self, key: str, race: CallRace, study: str, purpose: str, refund: PurposeSpend
    ) -> None:
        """Record a race that was claimed, and take back what its losers were settled beyond."""
        winners = [
            (place, _columns(reply))
            for place, reply in zip(race.winners, race.replies, strict=True)
        ]
        losers = [astuple(lost) for lost in race.lost]
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO held_races VALUES (?, ?, ?, ?)",
                (key, self._owner, json.dumps(winners), json.dumps(losers)),
            )
            if refund != PurposeSpend():
                usd, tokens = picodollars(refund.usd), (refund.input_tokens, refund.output_tokens)
                _add_spend(db, study, purpose, -usd, 0, -tokens[0], -tokens[1])

    def release_race(self, key: str) -> None:
        """Leave a race to others: it had no outcome."""
        with self._transaction() as db:
            db.execute("DELETE FROM held_races WHERE key = ? AND winners IS NULL", (key,))

    def spent(self, study: str) -> Spend:
        """What the study has paid so far, in this process and in earlier ones."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT purpose, picodollars, calls, input_tokens, output_tokens "
                "FROM spend WHERE study = ? ORDER BY purpose",
                (study,),
            ).fetchall()
        return Spend({purpose: PurposeSpend(usd / PICO, *rest) for purpose, usd, *rest in rows})

    def first_seconds(self, study: str, key: str, seconds: float) -> float:
        """What was recorded under the key first; these seconds, if nothing was."""
        query = "SELECT seconds FROM durations WHERE study = ? AND key = ?"
        with self._lock:
            known = self._connection.execute(query, (study, key)).fetchone()
        if known is None:
            with self._transaction() as db:
                row = (study, key, seconds)
                db.execute("INSERT OR IGNORE INTO durations VALUES (?, ?, ?)", row)
                known = db.execute(query, (study, key)).fetchone()
        return float(known[0])

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

    def _has_room(
        self, db: sqlite3.Connection, study: str, worst: Collection[int], caps: Caps
    ) -> bool:
        usd, calls, _ = self._committed(db, study)
        over_usd = caps.picodollars is not None and usd + sum(worst) > caps.picodollars
        return not over_usd and (caps.calls is None or calls + len(worst) <= caps.calls)

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
                _add_spend(db, study, purpose, self._remove_flight(db, key) or 0, 1, 0, 0)

    def _remove_flight(self, db: sqlite3.Connection, key: str) -> int | None:
        """What was reserved for it; None if it is not in flight."""
        rows = db.execute("DELETE FROM flights WHERE key = ? RETURNING picodollars", (key,))
        row = rows.fetchone()
        return int(row[0]) if row else None


def _columns(reply: LMReply) -> tuple[str, str, int, int, float, float]:
    """What is kept of a reply, in the order of its fields."""
    return (
        reply.text, reply.finish_reason, reply.input_tokens, reply.output_tokens,
        reply.usd, reply.latency_s,
    )  # fmt: skip


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


def _has(db: sqlite3.Connection, table: str, key: str) -> bool:
    return bool(db.execute(f"SELECT 1 FROM {table} WHERE key = ?", (key,)).fetchone())


def _add_spend(
    db: sqlite3.Connection,
    study: str,
    purpose: str,
    usd: int,
    calls: int,
    inputs: int,
    outputs: int,
) -> None:
    db.execute(
        "INSERT INTO spend VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (study, purpose) DO UPDATE SET "
        "picodollars = picodollars + excluded.picodollars, calls = calls + excluded.calls, "
        "input_tokens = input_tokens + excluded.input_tokens, "
        "output_tokens = output_tokens + excluded.output_tokens",
        (study, purpose, usd, calls, inputs, outputs),
    )
