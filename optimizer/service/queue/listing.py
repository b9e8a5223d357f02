"""What users see of their searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection, RowMapping

from optimizer.errors import UnknownSearch
from optimizer.service.database import ARTIFACTS, EVENTS, SEARCHES, Database, now
from optimizer.service.queue.leases import alive_workers
from optimizer.service.tokens import Token

ENDED = ("stopped", "failed", "done")

MOST_LISTED = 200
"""Searches in a list of them; older ones are found by their id."""
_SHOWN = [column for column in SEARCHES.c if column.name not in ("request", "dataset")]


def owned(connection: Connection, token: Token, key: str) -> RowMapping:
    """The state and budget of a search; `UnknownSearch` if the token has none of this id."""
    columns = SEARCHES.c
    wanted = select(columns.state, columns.budget_usd, columns.budget_calls).where(
        columns.id == key, columns.token == token.name
    )
    row = connection.execute(wanted).mappings().first()
    if row is None:
        raise UnknownSearch(f"there is no search {key!r}")
    return row


def searches(database: Database, token: Token, key: str | None = None) -> list[dict[str, Any]]:
    """The token's newest `MOST_LISTED` searches, newest first, or the one of this id, as JSON.

    Raises:
        UnknownSearch: it has none of this id.
    """
    overdue = (SEARCHES.c.lease_until < now()).label("overdue")
    wanted = select(*_SHOWN, overdue).where(SEARCHES.c.token == token.name)
    if key is not None:
        wanted = wanted.where(SEARCHES.c.id == key)
    with database.reading() as connection:
        newest = wanted.order_by(SEARCHES.c.created.desc()).limit(MOST_LISTED)
        rows = connection.execute(newest).mappings().all()
        if key is not None and not rows:
            raise UnknownSearch(f"there is no search {key!r}")
        workers = alive_workers(connection)
        keys = [row["id"] for row in rows]
        named = select(ARTIFACTS.c.search, ARTIFACTS.c.name).where(ARTIFACTS.c.search.in_(keys))
        files: dict[str, list[str]] = {key: [] for key in keys}
        for search, name in connection.execute(named):
            files[search].append(name)
    return [_shown(row, workers, files[row["id"]]) for row in rows]


def _shown(
    row: RowMapping, workers: Sequence[RowMapping], artifacts: Sequence[str]
) -> dict[str, Any]:
    plain = ("id", "name", "state", "created", "ended", "version", "trials", "error")
    return {
        **{name: row[name] for name in plain},
        **json.loads(row["facts"]),
        "stopping": bool(row["stop"]) and row["state"] == "running",
        "waits_for": _waits_for(row, workers),
        "spent": {"usd": row["spent_usd"], "calls": row["spent_calls"]},
        "progress": json.loads(row["progress"]),
        "result": None if row["result"] is None else json.loads(row["result"]),
        "artifacts": sorted(artifacts),
    }


def _waits_for(row: RowMapping, workers: Sequence[RowMapping]) -> str | None:
    """Why no worker has it; None if one has, or it has ended."""
    if row["state"] in ENDED or (row["state"] == "running" and not row["overdue"]):
        return None
    if not workers:
        return "a worker: none is running"
    same = [worker for worker in workers if worker["version"] == row["version"]]
    if not same:
        running = ", ".join(sorted({worker["version"] for worker in workers}))
        return (
            f"a worker of version {row['version']}: those running are of {running}; stopped and "
            "resumed, it runs with the service's version"
        )
    there = [worker for worker in same if row["cache"] in (None, worker["cache"])]
    if not there:
        return (
            "a worker with the cache where it began, which has its answers: those running have "
            "others"
        )
    if row["folder"] and all(row["folder"] not in json.loads(w["folders"]) for w in there):
        return f"a worker that allows the folder {row['folder']!r}"
    return "a free worker"


def events_after(database: Database, token: Token, key: str, number: int) -> list[dict[str, Any]]:
    """The events of a search behind this number, in their order, as JSON.

    Raises:
        UnknownSearch: the token has none of this id.
    """
    later = select(EVENTS).where(EVENTS.c.search == key, EVENTS.c.number > number)
    with database.reading() as connection:
        owned(connection, token, key)
        rows = connection.execute(later.order_by(EVENTS.c.number)).mappings().all()
    return [
        {"number": row["number"], "time": row["time"], "kind": row["kind"]}
        | {"data": json.loads(row["data"])}
        for row in rows
    ]


def artifact(database: Database, token: Token, key: str, name: str) -> bytes:
    """One file of a search that is done.

    Raises:
        UnknownSearch: the token has no such search, or the search no such file.
    """
    wanted = select(ARTIFACTS.c.content).where(ARTIFACTS.c.search == key, ARTIFACTS.c.name == name)
    with database.reading() as connection:
        state = owned(connection, token, key)["state"]
        content = connection.execute(wanted).scalar()
    if content is None:
        raise UnknownSearch(f"search {key} has no {name!r} (it is {state})")
    return bytes(content)
