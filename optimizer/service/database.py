"""The service's database: searches, their events and artifacts, and the workers that are alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement

from optimizer.errors import ServiceError
from optimizer.formatting import without_credentials

LOCKED_S = 20.0
"""How long to wait for another process that holds SQLite's lock; `?timeout=` says otherwise."""
_CREATING = 0x636F6D70
"""The advisory lock of PostgreSQL under which tables are created."""

_TABLES = MetaData()

TOKENS = Table("tokens", _TABLES, Column("name", String(64), primary_key=True))
"""A row for each token, locked while its budget is added up; never the token itself."""

SEARCHES = Table(
    "searches",
    _TABLES,
    Column("id", String(32), primary_key=True),
    Column("token", String(64), ForeignKey(TOKENS.c.name), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("state", String(8), nullable=False, index=True),
    Column("stop", Boolean, nullable=False, default=False),
    Column("version", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("facts", Text, nullable=False),  # of the request, what lists show
    Column("dataset", LargeBinary, nullable=False),
    Column("folder", Text),
    Column("cache", String(32)),
    Column("budget_usd", Float),
    Column("budget_calls", Integer),
    Column("spent_usd", Float, nullable=False, default=0.0),
    Column("spent_calls", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
    Column("ended", Float),
    Column("lease", String(32)),
    Column("lease_until", Float),
    Column("lost", Integer, nullable=False, default=0),
    Column("trials", Integer, nullable=False, default=0),
    Column("progress", Text, nullable=False, default="{}"),
    Column("result", Text),
    Column("error", Text),
)
EVENTS = Table(
    "events",
    _TABLES,
    Column("search", String(32), ForeignKey(SEARCHES.c.id), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("data", Text, nullable=False),
)
ARTIFACTS = Table(
    "artifacts",
    _TABLES,
    Column("search", String(32), ForeignKey(SEARCHES.c.id), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
WORKERS = Table(
    "workers",
    _TABLES,
    Column("id", String(32), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("cache", String(32), nullable=False),
    Column("folders", Text, nullable=False),
    Column("seen", Float, nullable=False),
)


class now(ColumnElement[float]):
    """The database's clock in seconds, so that the clocks of workers need not agree."""

    inherit_cache = True
    type = Float()


@compiles(now, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(element: Any, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


class Database:
    """Transactions on an SQLite or PostgreSQL database, whose tables are made if missing.

    `sqlite:///path` is for processes of one machine, `postgresql://...` also for several.

    Raises:
        ValueError: the address is not understood, or psycopg is not installed.
        ServiceError: it can't be reached.
    """

    def __init__(self, url: str) -> None:
        self.shown = without_credentials(url)
        try:
            address = make_url(url)
            if address.drivername in ("postgres", "postgresql"):
                address = address.set(drivername="postgresql+psycopg")
            if address.get_backend_name() not in ("sqlite", "postgresql"):
                raise ArgumentError("unknown database")
            self._is_sqlite = address.get_backend_name() == "sqlite"
            waits = self._is_sqlite and "timeout" not in address.query
            self._engine = create_engine(
                address,
                connect_args={"timeout": LOCKED_S} if waits else {},
                pool_pre_ping=True,
                hide_parameters=True,  # errors are logged, and rows hold users' prompts and data
            )
        except (ArgumentError, NoSuchModuleError) as error:
            raise ValueError(
                "the database must be an address such as sqlite:///service.db or "
                f"postgresql://user@host/name, but got {self.shown!r}"
            ) from error
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{self.shown} needs a driver: pip install 'psycopg[binary]'"
            ) from error
        if self._is_sqlite:
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin)
        try:
            with self.writing() as connection:
                if not self._is_sqlite:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))
                _TABLES.create_all(connection)
                found = {each["name"] for each in inspect(connection).get_columns(SEARCHES.name)}
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise ServiceError(f"the database {self.shown} can't be used: {reason}") from error
        if missing := {*SEARCHES.c.keys()} - found:
            self.close()
            raise ServiceError(
                f"the database {self.shown} was made by another version, without "
                f"{', '.join(sorted(missing))}: finish its searches with that version, or begin "
                "with a new database"
            )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; on SQLite the only one at its time."""
        with self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _configure_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin in `_begin`
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
