"""The SQLite file behind the store: its tables, their checksums, its version, and damage to it."""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import filelock

logger = logging.getLogger(__name__)

VERSION = 2
"""Of the tables; a new file has 0."""
_MOST_VERSION = 1000
"""A file that claims a later one is damaged."""
LOCKED_S = 60.0
"""How long to wait for another process that holds the file's lock."""

OTHER_FOLDER = "choose another folder with Gateway(cache=...) or COMPOUND_OPTIMIZER_CACHE"
_REMEDIES = {
    "full": f"free some space, or {OTHER_FOLDER}",
    "locked": f"end the process that holds its lock, or {OTHER_FOLDER}",
}
"""By what SQLite's message contains."""


class StoreError(OSError):
    """A cache folder that can't be used."""


class Table:
    """A table whose rows each end in a checksum, so that damaged rows are detected."""

    def __init__(self, name: str, keys: Sequence[str], columns: str, options: str = "") -> None:
        self.name = name
        primary = f"PRIMARY KEY ({', '.join(keys)})"
        self.definition = (
            f"CREATE TABLE {name} ({columns}, checksum INTEGER NOT NULL, {primary}){options}"
        )
        self._order = keys[0] if options else "rowid"
        self._put = f"INSERT OR REPLACE INTO {name} VALUES ({'?, ' * len(columns.split(', '))}?)"
        self._get = f"SELECT * FROM {name} WHERE {' AND '.join(f'{key} = ?' for key in keys)}"

    def put(self, db: sqlite3.Connection, *row: Any) -> None:
        """Insert the row, or replace the one with its keys."""
        db.execute(self._put, (*row, checksum(row)))

    def get(self, db: sqlite3.Connection, *keys: str) -> tuple[Any, ...] | None:
        """The row with these keys; None if there is none, or a damaged one."""
        row = db.execute(self._get, keys).fetchone()
        if row is None:
            return None
        # A damaged index leads to the row of other keys.
        if row[: len(keys)] == keys and row[-1] == checksum(row[:-1]):
            return tuple(row[:-1])
        _warn_of_damaged_row(self.name)
        return None

    def rows(self, db: sqlite3.Connection, where: str = "", *values: str) -> list[tuple[Any, ...]]:
        """Several rows. Raises sqlite3.DatabaseError if one is damaged."""
        rows = db.execute(f"SELECT * FROM {self.name} {where}", values).fetchall()
        for row in rows:
            if row[-1] != checksum(row[:-1]):
                raise sqlite3.DatabaseError(f"a row of {self.name} has a wrong checksum")
        return [row[:-1] for row in rows]

    def salvage(self, damaged: sqlite3.Connection, db: sqlite3.Connection) -> int:
        """Copy all rows that are whole, from both ends up to where reading fails.

        Returns:
            How many rows the copy has.
        """
        for order in ("ASC", "DESC"):
            for row in _readable(
                damaged, f"SELECT * FROM {self.name} ORDER BY {self._order} {order}"
            ):
                if row[-1] == checksum(row[:-1]):
                    self.put(db, *row[:-1])
        (count,) = db.execute(f"SELECT COUNT(*) FROM {self.name}").fetchone()
        return int(count)


REPLIES = Table(
    "replies",
    ["key"],
    "key TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL, "
    "input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, "
    "usd REAL NOT NULL, latency_s REAL NOT NULL, tool_calls TEXT NOT NULL",
)
FLIGHTS = Table(
    "flights",
    ["key"],
    "key TEXT NOT NULL, study TEXT NOT NULL, purpose TEXT NOT NULL, owner TEXT NOT NULL, "
    "picodollars INTEGER NOT NULL",
    " WITHOUT ROWID",
)
SPEND = Table(
    "spend",
    ["study", "purpose"],
    "study TEXT NOT NULL, purpose TEXT NOT NULL, picodollars INTEGER NOT NULL, "
    "calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL",
    " WITHOUT ROWID",
)
RACES = Table(
    "held_races", ["key"], "key TEXT NOT NULL, owner TEXT NOT NULL, winners TEXT, losers TEXT"
)
DURATIONS = Table(
    "durations",
    ["study", "key"],
    "study TEXT NOT NULL, key TEXT NOT NULL, seconds REAL NOT NULL",
    " WITHOUT ROWID",
)
PARSED = Table("parsed", ["key"], "key TEXT NOT NULL, call TEXT NOT NULL, outputs TEXT NOT NULL")
TABLES = (REPLIES, FLIGHTS, SPEND, RACES, DURATIONS, PARSED)


def checksum(row: Sequence[Any]) -> int:
    """CRC-32 of the values. `repr` also tells their types, and floats to the last digit."""
    return zlib.crc32(repr(tuple(row)).encode())


def open_database(folder: Path) -> sqlite3.Connection:
    """Open the folder's file; one process at a time, so that only one sets it aside.

    Raises:
        StoreError: it can't be opened or written, or is of another version.
    """
    path = folder / "cache.sqlite"
    try:
        with filelock.FileLock(folder / "opening.lock"):
            return _connect_or_set_aside(path)
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"the cache {str(path)!r} can't be opened: {explained(error)}") from error


def connect(path: str) -> sqlite3.Connection:
    """Open the file, check it, and create what is missing.

    Autocommit, so that every transaction is written out.

    Raises:
        StoreError: it is of another version.
        sqlite3.DatabaseError: it is damaged.
        sqlite3.OperationalError: it can't be read or written.
    """
    connection = sqlite3.connect(
        path, timeout=LOCKED_S, check_same_thread=False, isolation_level=None
    )
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")  # damaged text
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _check_version(connection, path)
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        _complete(connection, path)
        for table in (SPEND, FLIGHTS):
            table.rows(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def is_damage(error: Exception) -> bool:
    """Whether the file's content is at fault, and not the disk, a lock or a permission."""
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, sqlite3.DatabaseError | UnicodeError)


def explained(error: Exception) -> str:
    """What SQLite or the system says, and what to do about it."""
    remedies = (remedy for word, remedy in _REMEDIES.items() if word in str(error))
    return f"{error}; {next(remedies, OTHER_FOLDER)}"


def _connect_or_set_aside(path: Path) -> sqlite3.Connection:
    try:
        return connect(str(path))
    except (sqlite3.Error, UnicodeError) as error:  # also damaged text in SQLite's messages
        if not is_damage(error):
            raise
        _set_aside(path, error)
        return connect(str(path))


def _set_aside(path: Path, error: Exception) -> None:
    """Rename the damaged file, and put one in its place with all rows that are whole."""
    fresh = path.with_name(f"{path.name}.new")
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    _remove(fresh)
    with closing(connect(str(fresh))) as db, closing(sqlite3.connect(path)) as damaged:
        damaged.text_factory = db.text_factory
        db.execute("BEGIN IMMEDIATE")
        kept = {table: table.salvage(damaged, db) for table in TABLES}
        db.execute("COMMIT")
    path.rename(aside)
    _remove(path)
    fresh.rename(path)
    logger.warning(
        "the cache %s is corrupt (%s): set aside as %s; a new one starts with the %d replies that "
        "could be read. What earlier runs spent counts as far as it could be read",
        path,
        error,
        aside.name,
        kept[REPLIES],
    )


def _remove(path: Path) -> None:
    """Remove a database with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _readable(db: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows up to one that can't be read."""
    with suppress(sqlite3.Error, UnicodeError):
        yield from db.execute(query)


def _check_version(db: sqlite3.Connection, path: str) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not 0 <= version < _MOST_VERSION:
        raise sqlite3.DatabaseError(f"it has version {version}")
    if version not in (0, VERSION):
        raise _other_version(path, version)


def _complete(db: sqlite3.Connection, path: str) -> None:
    """Create the tables of a new file.

    Raises:
        StoreError: the file is new to this program only.
        sqlite3.DatabaseError: the tables are not those of this version.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        if db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise _other_version(path, version)
        db.execute("BEGIN IMMEDIATE")
        _create(db)
        db.execute("COMMIT")
    if set(db.execute("SELECT sql FROM sqlite_master")) != _definitions():
        raise sqlite3.DatabaseError("its tables are not as they were made")


def _create(db: sqlite3.Connection) -> None:
    for table in TABLES:
        db.execute(table.definition)
    db.execute(f"PRAGMA user_version = {VERSION}")


@cache
def _definitions() -> frozenset[tuple[str | None]]:
    """What SQLite keeps of the tables' definitions in a sound file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        _create(db)
        return frozenset(db.execute("SELECT sql FROM sqlite_master"))


def _other_version(path: str, version: int) -> StoreError:
    return StoreError(
        f"the cache {path!r} has version {version}, but this program reads version {VERSION}; "
        f"{OTHER_FOLDER}, or delete it: then its replies are paid for again"
    )


@cache
def _warn_of_damaged_row(table: str) -> None:
    """Once for each table."""
    logger.warning(
        "a row of %r in the cache is damaged; it counts as absent and is made anew. "
        "If that happens often, check the disk",
        table,
    )
