"""Leases: how workers take searches from the queue, hold them, and write down how they end.

A worker holds a search by its lease, a random name that it writes
with the time when it ends; all that the worker writes later is on the condition that it is there.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection, RowMapping

from optimizer.service.database import ARTIFACTS, EVENTS, SEARCHES, WORKERS, Database, now
from optimizer.service.request import SearchRequest, State, Upload
from pipelines.gateway.secrets import encodable

WORKER_GONE_S = 60.0
"""A worker that was not seen for so long no longer counts as alive."""
MOST_LOST = 5
"""A search whose workers are lost so often in a row, without a new trial, has failed."""

Event = tuple[str, Mapping[str, Any]]
"""Its kind and data: a `trial` with its `number`, a `warning`, or a change of state."""


@dataclass(frozen=True)
class WorkerFacts:
    """What decides which searches a worker may lease."""

    id: str
    version: str
    """Of the package: another one may take another path."""
    cache: str
    """Of its folder of answers: only there are those of a search that has begun."""
    folders: Sequence[str]
    """Names of the folders whose code it may run."""


@dataclass(frozen=True)
class Leased:
    """A search in the hands of one worker."""

    id: str
    lease: str
    token: str
    request: SearchRequest
    models: Mapping[str, Any]
    dataset: Upload
    stop: bool
    """Whether it was to stop when its last worker was lost."""
    lost: int
    """How many workers were lost in a row."""


@dataclass(frozen=True)
class Ending:
    """How a search left its worker; `queued` if another one is to go on with it."""

    state: State
    spent_usd: float | None
    """None, as for `spent_calls`, if it is unknown: then what was written before stays."""
    spent_calls: int | None
    result: Mapping[str, Any] | None = None
    error: str | None = None
    artifacts: Mapping[str, bytes] | None = None


def lease(database: Database, worker: WorkerFacts, seconds: float) -> Leased | None:
    """Take the oldest search that this worker may run, for `seconds`; None without any."""
    columns = SEARCHES.c
    free = or_(
        columns.state == "queued", and_(columns.state == "running", columns.lease_until < now())
    )
    fits = and_(
        columns.version == worker.version,
        or_(columns.cache.is_(None), columns.cache == worker.cache),
        or_(columns.folder.is_(None), columns.folder.in_(worker.folders)),
    )
    oldest = select(columns.id).where(free, fits).order_by(columns.created).limit(8)
    with database.reading() as connection:
        candidates = connection.execute(oldest).scalars().all()
    for key in candidates:
        name = uuid.uuid4().hex
        taken = (
            update(SEARCHES)
            .where(columns.id == key, free, fits)
            .values(
                state="running",
                lease=name,
                lease_until=now() + seconds,
                cache=worker.cache,
                lost=columns.lost + case((columns.state == "running", 1), else_=0),
            )
            .returning(*columns)
        )
        with database.writing() as connection:
            row = connection.execute(taken).mappings().first()
            if row is None:  # another worker was quicker
                continue
            kind = "taken over" if row["lost"] else "started"
            append(connection, key, [(kind, {"lost": row["lost"]} if row["lost"] else {})])
        return _leased(row)
    return None


def _leased(row: RowMapping) -> Leased:
    stored = json.loads(row["request"])
    return Leased(
        row["id"], row["lease"], row["token"],
        SearchRequest.model_validate(stored["request"]), stored["models"],
        Upload(name=stored["name"], content=bytes(row["dataset"])), row["stop"], row["lost"],
    )  # fmt: skip


def renew(
    database: Database,
    leased: Leased,
    seconds: float,
    spent: tuple[float, int],
    progress: Mapping[str, Any],
    events: Sequence[Event],
) -> bool | None:
    """Hold the search for `seconds` from now, and write down how far it is.

    Trials that were written down before, by this worker or the one before it, are left out.

    Returns:
        Whether it is to stop; None if the worker no longer holds it, and nothing was written.
    """
    with database.writing() as connection:
        row = connection.execute(
            update(SEARCHES)
            .where(*_held(leased))
            .values(
                lease_until=now() + seconds, spent_usd=spent[0], spent_calls=spent[1],
                **({"progress": json.dumps(progress)} if progress else {}),
            )
            .returning(SEARCHES.c.stop)
        ).first()  # fmt: skip
        if row is None:
            return None
        _append_new(connection, leased.id, events)
        return bool(row[0])


def end(database: Database, leased: Leased, ending: Ending, events: Sequence[Event] = ()) -> bool:
    """Write down how the search ended; False if the worker no longer holds it.

    One that goes back to the queue is stopped instead if its user has asked for that meanwhile.
    """
    columns = SEARCHES.c
    state: Any = ending.state
    ended: Any = now()
    if ending.state == "queued":
        state = case((columns.stop, "stopped"), else_="queued")
        ended = case((columns.stop, now()), else_=None)
    error = None if ending.error is None else storable(ending.error)
    spent = {"spent_usd": ending.spent_usd, "spent_calls": ending.spent_calls}
    with database.writing() as connection:
        written = connection.execute(
            update(SEARCHES)
            .where(*_held(leased))
            .values(
                state=state, lease=None, lease_until=None, lost=0, stop=False, ended=ended,
                result=None if ending.result is None else json.dumps(ending.result), error=error,
                **{name: value for name, value in spent.items() if value is not None},
            )
            .returning(columns.state)
        ).scalar()  # fmt: skip
        if written is None:
            return False
        _append_new(connection, leased.id, events)
        append(connection, leased.id, [(written, {} if error is None else {"error": error})])
        for name, content in (ending.artifacts or {}).items():
            row = {"search": leased.id, "name": name, "content": content}
            connection.execute(insert(ARTIFACTS).values(row))
        return True


def _held(leased: Leased) -> tuple[Any, ...]:
    return SEARCHES.c.id == leased.id, SEARCHES.c.lease == leased.lease


def record_heartbeat(database: Database, worker: WorkerFacts) -> None:
    """Note that the worker is alive, and forget those that were not seen for long."""
    facts = {
        "version": worker.version, "cache": worker.cache,
        "folders": json.dumps(list(worker.folders)), "seen": now(),
    }  # fmt: skip
    with database.writing() as connection:
        connection.execute(delete(WORKERS).where(WORKERS.c.seen < now() - WORKER_GONE_S))
        known = update(WORKERS).where(WORKERS.c.id == worker.id).values(facts)
        if not connection.execute(known).rowcount:
            connection.execute(insert(WORKERS).values(id=worker.id, **facts))


def remove_worker(database: Database, worker: WorkerFacts) -> None:
    """Note that the worker has ended."""
    with database.writing() as connection:
        connection.execute(delete(WORKERS).where(WORKERS.c.id == worker.id))


def alive_workers(connection: Connection) -> Sequence[RowMapping]:
    """Those that were seen lately."""
    recent = select(WORKERS).where(WORKERS.c.seen >= now() - WORKER_GONE_S)
    return connection.execute(recent).mappings().all()


def _append_new(connection: Connection, key: str, events: Sequence[Event]) -> None:
    """Append events; of trials only those with a later number than all before."""
    known = connection.execute(select(SEARCHES.c.trials).where(SEARCHES.c.id == key)).scalar_one()
    fresh = [(kind, data) for kind, data in events if kind != "trial" or data["number"] >= known]
    trials = [data["number"] + 1 for kind, data in fresh if kind == "trial"]
    if trials:
        further = {"trials": max(trials), "lost": 0}
        connection.execute(update(SEARCHES).where(SEARCHES.c.id == key).values(further))
    append(connection, key, fresh)


def append(connection: Connection, key: str, events: Sequence[Event]) -> None:
    """Append events of a search."""
    last = connection.execute(
        select(func.coalesce(func.max(EVENTS.c.number), 0)).where(EVENTS.c.search == key)
    ).scalar_one()
    for number, (kind, data) in enumerate(events, start=last + 1):
        row = {"search": key, "number": number, "kind": kind, "data": json.dumps(data)}
        connection.execute(insert(EVENTS).values(**row, time=now()))


def storable(text: str) -> str:
    """The text without what PostgreSQL or UTF-8 has no form for."""
    return encodable(text).replace("\0", "")
