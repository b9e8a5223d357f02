"""The store on disk: replies, races, reservations of calls in flight, and spend.

One SQLite file in WAL mode holds them all, so that a reply and the money it cost are written
in one transaction, and so that several processes agree (docs/decisions/002-cache-is-the-resume.md).
"""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
import threading
import uuid
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from pipelines.gateway.budget import PICO, PurposeSpend, RunningSpend, Spend, picodollars
from pipelines.gateway.call import CallRace, LMReply, batch_key
from pipelines.gateway.storage import database
from pipelines.gateway.storage.database import (
    DURATIONS,
    FLIGHTS,
    OTHER_FOLDER,
    PARSED,
    RACES,
    REPLIES,
    SPEND,
    StoreError,
)

__all__ = ["Caps", "Claim", "Store", "StoreError"]

logger = logging.getLogger(__name__)

_HURRIED_MS = 1000
"""How long to wait for a lock after having waited in vain."""
_MOST_PARSED = 256
_BATCH = "batch:"
"""How the owner begins of a reservation that travels in a batch; the batch's id follows."""


class Caps(NamedTuple):
    """Most that a study may have spent, with what its calls in flight may still cost."""

    picodollars: int | None
    calls: int | None


class Claim(Enum):
    """The outcome of asking for a reservation."""

    GRANTED = "reserved: make the call, then settle"
    ANSWERED = "the reply is there"
    IN_FLIGHT = "another process is making this very call"
    IN_BATCH = "a batch that was sent brings the reply"
    NO_ROOM_YET = "it does not fit now, but calls in flight may leave room when they settle"
    NO_ROOM = "it does not fit"


class Settlement(NamedTuple):
    """What becomes of a reservation."""

    key: str
    study: str
    purpose: str
    cost: PurposeSpend | None
    """What the call cost; None for the whole reservation. Without calls, it was never sent: the
    reservation is given back."""
    reply: LMReply | None = None


class Parsed(NamedTuple):
    """Outputs that were read from a reply."""

    outputs: Mapping[str, Any]
    call: str
    """The call's key."""
    reply: LMReply


class Store:
    """The file behind a gateway. Safe for threads and for processes.

    What can't be written of a call that was made is held in memory: until the next transaction
    that succeeds writes it, no further call is granted. All methods but those that end a
    reservation raise `StoreError` where the file can't be read or written.
    """

    def __init__(self, folder: Path | None) -> None:
        """Open or create the file in `folder`; None keeps everything in memory.

        A damaged file is set aside under another name, with a warning; what is whole in it is kept.

        Raises:
            StoreError: the folder can't be written, or the file not opened.
        """
        self._lock = threading.RLock()
        self._owner = uuid.uuid4().hex
        self._owners = folder / "owners" if folder else None
        self._name = str(folder / "cache.sqlite") if folder else ":memory:"
        self._unwritten: dict[str, Settlement] = {}
        """By the key of the call."""
        self._parsed: list[tuple[str, str, str]] = []
        """Rows still to be written; without them, replies are parsed again."""
        self.awaited_batches: set[str] = set()
        """Ids of the batches that somebody in this process waits for."""
        self._is_hurried = False
        self._alive = self._announce_owner()
        open_database = database.open_database
        self._connection = open_database(folder) if folder else database.connect(":memory:")
        # also when the process ends: else every process would leave its lock file behind
        self._closing = weakref.finalize(self, _close, self._connection, self._alive, os.getpid())

    def reply(self, key: str, *, batched: bool = False) -> LMReply | None:
        """The recorded reply, or None; also one that a batch brought, if `batched`.

        Errors are never recorded.
        """
        known = self._reply(key)
        if known is None and batched and (brought := self._reply(batch_key(key))) is not None:
            return replace(brought, latency_s=math.nan)
        return known

    def _reply(self, key: str) -> LMReply | None:
        held = self._unwritten.get(key)
        if held is not None and held.reply is not None:
            return replace(held.reply, cached=True)
        with self._reading() as db:
            row = REPLIES.get(db, key)
        return _reply_of(row[1:]) if row else None

    def claim(self, worst_usd: Mapping[str, float], study: str, purpose: str, caps: Caps) -> Claim:
        """Reserve the worst costs of calls, by their keys: of all that are not answered, or none.

        None are reserved if one is in flight, or if together they are over a cap.
        """
        with self._transaction() as db:
            worst = {
                key: picodollars(usd) + 1  # rounding must not hide a fraction
                for key, usd in worst_usd.items()
                if not REPLIES.get(db, key)
            }
            if not worst:
                return Claim.ANSWERED
            for key in worst:
                # A gateway makes each call once at a time: its own flight was cut off by ctrl-C.
                self._settle_orphans(db, "key", key, cut_off=self._owner)
            if flights := [row for key in worst for row in FLIGHTS.rows(db, "WHERE key = ?", key)]:
                batched = all(owner.startswith(_BATCH) for *_, owner, _ in flights)
                return Claim.IN_BATCH if batched else Claim.IN_FLIGHT
            if not self._has_room(db, study, worst.values(), caps):
                self._settle_orphans(db, "study", study)  # while all wait, no other call would
                owners = {owner for *_, owner, _ in FLIGHTS.rows(db, "WHERE study = ?", study)}
                awaited = {_BATCH + batch for batch in self.awaited_batches}
                settling = any(o in awaited or not o.startswith(_BATCH) for o in owners)
                return Claim.NO_ROOM_YET if settling else Claim.NO_ROOM
            for key, usd in worst.items():
                FLIGHTS.put(db, key, study, purpose, self._owner, usd)
            return Claim.GRANTED

    def settle(self, made: Settlement) -> None:
        """Settle a reservation of this process, and keep the reply; what is settled stays so.

        Where it can't be written, it is held in memory until it can.
        """
        try:
            with self._transaction() as db:
                self._write(db, made)
        except StoreError as error:
            with self._lock:
                if not self._unwritten:
                    logger.warning(
                        "%s. What was paid for is held in memory till it can be written", error
                    )
                self._unwritten.setdefault(made.key, made)

    def send_in_batch(self, keys: Collection[str], batch: str) -> None:
        """Note that reserved calls travel in the batch of this id: they outlive this process."""
        with self._transaction() as db:
            for key in keys:
                for _, study, purpose, *_, usd in self._flights(db, key, self._owner):
                    FLIGHTS.put(db, key, study, purpose, _BATCH + batch, usd)

    def batch_of(self, key: str) -> str | None:
        """The id of the batch that a reserved call travels in; None if it is in none."""
        with self._reading() as db:
            owners = [owner for *_, owner, _ in self._flights(db, key)]
        return owners[0].removeprefix(_BATCH) if owners else None

    def settle_orphans(self, study: str) -> None:
        """Charge what dead processes left in flight at its worst cost."""
        with self._transaction() as db:
            self._settle_orphans(db, "study", study)

    def race(self, key: str) -> CallRace | None:
        """The recorded outcome of a race, or None; also while another process holds it."""
        with self._reading() as db:
            row = RACES.get(db, key)
        if row is None or row[2] is None:
            return None
        winners, losers = map(json.loads, row[2:])
        places, replies = zip(*winners, strict=True)
        recorded = tuple(map(_reply_of, replies))
        return CallRace(places, recorded, tuple(PurposeSpend(*lost) for lost in losers))

    def claim_race(self, key: str) -> bool:
        """Whether the race is this process's to hold: neither recorded nor held by another."""
        with self._transaction() as db:
            if row := RACES.get(db, key):
                _, owner, winners, _ = row
                if winners is not None or (owner != self._owner and self._is_alive(owner)):
                    return False
            RACES.put(db, key, self._owner, None, None)
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
            RACES.put(db, key, self._owner, json.dumps(winners), json.dumps(losers))
            if refund != PurposeSpend():
                usd, tokens = picodollars(refund.usd), (-refund.input_tokens, -refund.output_tokens)
                _add_spend(db, study, purpose, -usd, 0, *tokens)

    def release_race(self, key: str) -> None:
        """Leave a race to others: it had no outcome."""
        # where it can't be written, others have the race when this process ends
        with suppress(StoreError), self._transaction() as db:
            db.execute("DELETE FROM held_races WHERE key = ? AND winners IS NULL", (key,))

    def parsed(self, key: str, *, batched: bool = False) -> Parsed | None:
        """The outputs that are kept under the key, if their reply is still there; see `reply`."""
        with self._reading() as db:
            row = PARSED.get(db, key)
            reply = row and self.reply(row[1], batched=batched)
        return Parsed(json.loads(row[2]), row[1], reply) if row and reply else None

    def keep_parsed(self, key: str, call: str, outputs: Mapping[str, Any]) -> None:
        """Keep outputs of exact JSON; they are written with what is written next, or at the end."""
        self._parsed.append((key, call, json.dumps(outputs)))
        if len(self._parsed) > _MOST_PARSED:
            self._flush()

    def spent(self, study: str) -> Spend:
        """What the study has paid so far, in this process and in earlier ones."""
        if self._unwritten:
            self._flush()
        paid = RunningSpend()
        with self._reading() as db:
            for _, purpose, usd, *rest in SPEND.rows(db, "WHERE study = ?", study):
                paid.add(purpose, PurposeSpend(usd / PICO, *rest))
            for held in self._unwritten.values():
                flights = FLIGHTS.rows(db, "WHERE key = ?", held.key)
                if held.study == study and flights:
                    paid.add(held.purpose, _cost(held, flights[0][-1]))
        return paid.spend

    def first_seconds(self, study: str, key: str, seconds: float) -> float:
        """What was recorded under the key first; these seconds, if nothing was."""
        with self._reading() as db:
            known = DURATIONS.get(db, study, key)
        if known is None:
            with self._transaction() as db:
                known = DURATIONS.get(db, study, key)
                if known is None:
                    known = study, key, seconds + 0.0
                    DURATIONS.put(db, *known)
        return float(known[2])

    def close(self) -> None:
        """Close the file. Calls still in flight then count as orphans."""
        with self._lock:
            if (self._unwritten or self._parsed) and self._closing.alive:
                self._flush()
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
                + OTHER_FOLDER
            ) from error
        return lock

    def _is_alive(self, owner: str) -> bool:
        if owner == self._owner or self._owners is None or owner.startswith(_BATCH):
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
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise self._refusal("read", error) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that first writes what is unwritten."""
        with self._lock:
            db = self._connection
            try:
                db.execute("BEGIN IMMEDIATE")
                for held in self._unwritten.values():
                    self._write(db, held)
                yield db
                parsed = self._parsed[:]
                for row in parsed:
                    PARSED.put(db, *row)
                db.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                self._hurry("locked" in str(error))
                raise self._refusal("written", error) from error
            except BaseException:
                self._roll_back()
                raise
            if self._unwritten:
                logger.warning("the cache %s is written again", self._name)
                self._unwritten.clear()
            del self._parsed[: len(parsed)]
            self._hurry(False)

    def _flush(self) -> None:
        """Write what is unwritten, if that is possible now."""
        with suppress(StoreError), self._transaction():
            pass

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # SQLite has done so itself after some errors
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _hurry(self, locked: bool) -> None:
        """Shorten the wait for a lock that this process has not got in time."""
        if locked != self._is_hurried:
            self._is_hurried = locked
            wait_ms = _HURRIED_MS if locked else round(1000 * database.LOCKED_S)
            self._connection.execute(f"PRAGMA busy_timeout = {wait_ms}")

    def _refusal(self, done: str, error: sqlite3.Error) -> StoreError:
        if database.is_damage(error):
            return StoreError(
                f"the cache {self._name!r} is corrupt ({error}); end all runs that use it and "
                "start again: it is set aside then, and what can be read of it is kept"
            )
        return StoreError(f"the cache {self._name!r} can't be {done}: {database.explained(error)}")

    def _write(self, db: sqlite3.Connection, made: Settlement) -> None:
        reserved = self._remove_flight(db, made.key, self._owner)
        cost = _cost(made, reserved or 0)
        if reserved is not None and cost.calls:
            tokens = (cost.input_tokens, cost.output_tokens)
            _add_spend(db, made.study, made.purpose, picodollars(cost.usd), cost.calls, *tokens)
        if made.reply and not REPLIES.get(db, made.key):
            REPLIES.put(db, made.key, *_columns(made.reply))

    def _has_room(
        self, db: sqlite3.Connection, study: str, worst: Collection[int], caps: Caps
    ) -> bool:
        usd, calls, _ = self._committed(db, study)
        over_usd = caps.picodollars is not None and usd + sum(worst) > caps.picodollars
        return not over_usd and (caps.calls is None or calls + len(worst) <= caps.calls)

    def _committed(self, db: sqlite3.Connection, study: str) -> tuple[int, int, int]:
        """Picodollars and calls spent or reserved, and how many calls are in flight."""
        spent = [row[2:4] for row in SPEND.rows(db, "WHERE study = ?", study)]
        # their checksums were checked when the file was opened, and there may be hundreds
        reserved, flying = db.execute(
            "SELECT COALESCE(SUM(picodollars), 0), COUNT(*) FROM flights WHERE study = ?", (study,)
        ).fetchone()
        usd, calls = sum(usd for usd, _ in spent), sum(calls for _, calls in spent)
        return usd + reserved, calls + flying, flying

    def _settle_orphans(
        self, db: sqlite3.Connection, column: str, value: str, cut_off: str | None = None
    ) -> None:
        flights = FLIGHTS.rows(db, f"WHERE {column} = ?", value)
        owners = {owner for *_, owner, _ in flights}
        dead = {owner for owner in owners if owner == cut_off or not self._is_alive(owner)}
        for key, study, purpose, owner, _ in flights:
            if owner in dead:
                _add_spend(db, study, purpose, self._remove_flight(db, key, owner) or 0, 1, 0, 0)

    def _remove_flight(self, db: sqlite3.Connection, key: str, owner: str) -> int | None:
        """What the owner, or a batch, had reserved for it; None if it is not in flight."""
        rows = self._flights(db, key, owner)
        if not rows:
            return None
        db.execute("DELETE FROM flights WHERE key = ?", (key,))
        return int(rows[0][-1])

    @staticmethod
    def _flights(db: sqlite3.Connection, key: str, owner: str = "") -> list[tuple[Any, ...]]:
        """The reservation of the call, if it is the owner's or travels in a batch."""
        rows = FLIGHTS.rows(db, "WHERE key = ?", key)
        return [row for row in rows if row[3] == owner or row[3].startswith(_BATCH)]


def _cost(made: Settlement, reserved: int) -> PurposeSpend:
    """What it costs; without a reply no more than was reserved, in picodollars."""
    if made.cost is None:
        return PurposeSpend(reserved / PICO, 1)
    return made.cost if made.reply else replace(made.cost, usd=min(made.cost.usd, reserved / PICO))


def _columns(reply: LMReply) -> tuple[str, str, int, int, float, float, str]:
    """What is kept of a reply, in the order of its fields."""
    latency_s = 0.0 if math.isnan(reply.latency_s) else reply.latency_s  # the key tells
    return (
        reply.text, reply.finish_reason, reply.input_tokens, reply.output_tokens,
        reply.usd + 0.0, latency_s + 0.0,  # SQLite keeps no negative zero
        json.dumps(reply.tool_calls) if reply.tool_calls else "",
    )  # fmt: skip


def _reply_of(columns: Sequence[Any]) -> LMReply:
    """The reply of which these columns were kept."""
    text, finish_reason, inputs, outputs, usd, latency_s, sent = columns
    calls = tuple(json.loads(sent)) if sent else ()
    return LMReply(text, finish_reason, inputs, outputs, usd, latency_s, calls, cached=True)


def _close(
    connection: sqlite3.Connection, alive: filelock.BaseFileLock | None, process: int
) -> None:
    if os.getpid() != process:  # a fork that ends must not declare its parent dead
        return
    connection.close()
    if alive:
        alive.release()
        Path(alive.lock_file).unlink(missing_ok=True)


def _add_spend(db: sqlite3.Connection, study: str, purpose: str, *added: int) -> None:
    """Add picodollars, calls, and tokens in and out."""
    known = SPEND.rows(db, "WHERE study = ? AND purpose = ?", study, purpose)
    before = known[0][2:] if known else (0, 0, 0, 0)
    SPEND.put(db, study, purpose, *(old + new for old, new in zip(before, added, strict=True)))
