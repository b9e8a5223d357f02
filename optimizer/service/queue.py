"""The queue of searches: submissions, leases of workers, and outcomes.

Every change is one transaction. A worker holds a search by its lease, a random name that it writes
with the time when it ends; all that the worker writes later is on the condition that it is there.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from optimizer.errors import ServiceError
from optimizer.formatting import counted, dollars
from optimizer.service.database import ARTIFACTS, EVENTS, SEARCHES, TOKENS, WORKERS, Database, now
from optimizer.service.request import SearchRequest, State, Upload
from optimizer.service.tokens import Token
from pipelines.gateway.budget import PICO, Budget, picodollars
from pipelines.gateway.secrets import encodable

ENDED = ("stopped", "failed", "done")
WORKER_GONE_S = 60.0
"""A worker that was not seen for so long no longer counts as alive."""
MOST_LOST = 5
"""A search whose workers are lost so often in a row, without a new trial, has failed."""

MOST_LISTED = 200
"""Searches in a list of them; older ones are found by their id."""
_SHOWN = [
    SEARCHES.c[name]
    for name in (
        "id", "name", "state", "stop", "version", "request", "folder", "cache", "created", "ended",
        "spent_usd", "spent_calls", "trials", "progress", "result", "error",
    )
]  # fmt: skip

Event = tuple[str, Mapping[str, Any]]
"""Its kind and data: a `trial` with its `number`, a `warning`, or a change of state."""


class OverBudget(ServiceError):
    """A search asks for more than its token has left."""


class UnknownSearch(ServiceError):
    """There is no such search, or it is another token's."""


class NotPossible(ServiceError):
    """The search is not in a state for that."""


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


def add_tokens(database: Database, tokens: Iterable[Token]) -> None:
    """Make a row for each token that has none."""
    for token in tokens:
        try:
            with database.writing() as connection:
                connection.execute(insert(TOKENS).values(name=token.name))
        except IntegrityError:  # it is there
            continue


def add(
    database: Database,
    token: Token,
    request: SearchRequest,
    models: Mapping[str, Any],
    dataset: Upload,
    name: str,
    budget: Budget,
    version: str,
) -> str:
    """Put a checked search into the queue; its id.

    Args:
        database: of the service.
        token: whose search it is.
        request: with the text of the pipeline and without a dataset of its own.
        models: what the operator's labels stand for, as JSON.
        dataset: what to tune on.
        name: of the pipeline.
        budget: its caps.
        version: of the package that checked it; workers of another one leave it alone.

    Raises:
        OverBudget: the token has not that much left; says how much.
    """
    key = uuid.uuid4().hex
    stored = {"request": request.model_dump(mode="json"), "models": models, "name": dataset.name}
    with database.writing() as connection:
        _check_budget(connection, token, budget)
        connection.execute(
            insert(SEARCHES).values(
                id=key, token=token.name, name=_storable(name), state="queued", version=version,
                request=json.dumps(stored), dataset=dataset.content, folder=request.folder,
                budget_usd=budget.usd, budget_calls=budget.calls, created=now(),
            )
        )  # fmt: skip
        _append(connection, key, [("queued", {})])
    return key


def committed(connection: Connection, token: str, besides: str = "") -> tuple[float, int]:
    """Dollars and calls that the token's ended searches spent and its others may still spend, but
    for one of them."""
    columns = SEARCHES.c
    rows = connection.execute(
        select(
            columns.state, columns.spent_usd, columns.spent_calls,
            columns.budget_usd, columns.budget_calls,
        ).where(columns.token == token, columns.id != besides)
    ).all()  # fmt: skip
    pico, calls = 0, 0
    for state, spent_usd, spent_calls, usd, most_calls in rows:
        ended = state in ENDED
        pico += picodollars(spent_usd if ended or usd is None else usd)
        calls += spent_calls if ended or most_calls is None else most_calls
    return pico / PICO, calls


def _check_budget(connection: Connection, token: Token, budget: Budget, besides: str = "") -> None:
    """Raise `OverBudget` if the token has not that much left beside its other searches."""
    # on PostgreSQL this locks the row until the transaction ends
    connection.execute(update(TOKENS).where(TOKENS.c.name == token.name).values(name=token.name))
    usd, calls = committed(connection, token.name, besides)
    for name, cap, asked, used, text in (
        ("usd", token.usd, budget.usd, usd, dollars),
        ("calls", token.calls, budget.calls, calls, lambda number: counted(number, "call")),
    ):
        if cap is None:
            continue
        if asked is None:
            raise OverBudget(
                f"token {token.name!r} is capped at {text(cap)}: the budget must name {name}, too"
            )
        left = max(0, picodollars(cap) - picodollars(used)) / PICO
        if picodollars(asked) > picodollars(left):
            raise OverBudget(
                f"the budget of {text(asked)} exceeds what token {token.name!r} has left: "
                f"{text(type(cap)(left))} of {text(cap)}, since its searches spent or may still "
                f"spend {text(used)}"
            )


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
            _append(connection, key, [(kind, {"lost": row["lost"]} if row["lost"] else {})])
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
    error = None if ending.error is None else _storable(ending.error)
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
        _append(connection, leased.id, [(written, {} if error is None else {"error": error})])
        for name, content in (ending.artifacts or {}).items():
            row = {"search": leased.id, "name": name, "content": content}
            connection.execute(insert(ARTIFACTS).values(row))
        return True


def _storable(text: str) -> str:
    """The text without what PostgreSQL or UTF-8 has no form for."""
    return encodable(text).replace("\0", "")


def _held(leased: Leased) -> tuple[Any, ...]:
    return SEARCHES.c.id == leased.id, SEARCHES.c.lease == leased.lease


def stop(database: Database, token: Token, key: str) -> None:
    """Ask a search to stop; one that no worker holds stops at once.

    That is one that waits, and one whose lease has run out: its worker may never come back. What it
    spent since its last renewal is counted when the search is resumed.

    Raises:
        UnknownSearch: the token has none of this id.
        NotPossible: it has ended.
    """
    columns = SEARCHES.c
    with database.writing() as connection:
        name = columns.token == token.name
        overdue = and_(columns.state == "running", columns.lease_until < now())
        free = or_(columns.state == "queued", overdue)
        stopped = {"state": "stopped", "ended": now(), "lease": None, "lease_until": None}
        waiting = update(SEARCHES).where(columns.id == key, name, free)
        if connection.execute(waiting.values(stop=False, lost=0, **stopped)).rowcount:
            _append(connection, key, [("stopped", {})])
            return
        running = update(SEARCHES).where(columns.id == key, name, columns.state == "running")
        if connection.execute(running.values(stop=True)).rowcount:
            _append(connection, key, [("stopping", {})])
            return
        state = _row(connection, token, key)["state"]
        raise NotPossible(f"search {key} can't be stopped: it has ended ({state})")


def resume(database: Database, token: Token, key: str, version: str) -> None:
    """Put a search that was stopped or has failed back into the queue, for workers of a version.

    Raises:
        UnknownSearch: the token has none of this id.
        NotPossible: it has not ended, or is done.
        OverBudget: what it did not spend of its budget is no longer there.
    """
    with database.writing() as connection:
        row = _row(connection, token, key)
        if row["state"] not in ("stopped", "failed"):
            raise NotPossible(
                f"search {key} is {row['state']}: only one that was stopped or has failed can be "
                "resumed"
            )
        _check_budget(connection, token, Budget(row["budget_usd"], row["budget_calls"]), key)
        again = (
            update(SEARCHES)
            .where(SEARCHES.c.id == key, SEARCHES.c.state == row["state"])
            .values(state="queued", version=version, ended=None, error=None, lost=0)
        )
        if connection.execute(again).rowcount:  # 0: another request was quicker
            _append(connection, key, [("resumed", {})])


def _row(connection: Connection, token: Token, key: str) -> RowMapping:
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
        workers = _alive(connection)
        keys = [row["id"] for row in rows]
        named = select(ARTIFACTS.c.search, ARTIFACTS.c.name).where(ARTIFACTS.c.search.in_(keys))
        files: dict[str, list[str]] = {key: [] for key in keys}
        for search, name in connection.execute(named):
            files[search].append(name)
    return [_shown(row, workers, files[row["id"]]) for row in rows]


def _shown(
    row: RowMapping, workers: Sequence[RowMapping], artifacts: Sequence[str]
) -> dict[str, Any]:
    stored = json.loads(row["request"])
    request = stored["request"]
    return {
        "id": row["id"],
        "name": row["name"],
        "state": row["state"],
        "stopping": bool(row["stop"]) and row["state"] == "running",
        "waits_for": _waits_for(row, workers),
        "created": row["created"],
        "ended": row["ended"],
        "version": row["version"],
        "models": request["models"],
        "metric": request["metric"],
        "dataset": stored["name"],
        "budget": request["budget"],
        "spent": {"usd": row["spent_usd"], "calls": row["spent_calls"]},
        "trials": row["trials"],
        "progress": json.loads(row["progress"]),
        "error": row["error"],
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
        _row(connection, token, key)
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
        state = _row(connection, token, key)["state"]
        content = connection.execute(wanted).scalar()
    if content is None:
        raise UnknownSearch(f"search {key} has no {name!r} (it is {state})")
    return bytes(content)


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


def _alive(connection: Connection) -> Sequence[RowMapping]:
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
    _append(connection, key, fresh)


def _append(connection: Connection, key: str, events: Sequence[Event]) -> None:
    last = connection.execute(
        select(func.coalesce(func.max(EVENTS.c.number), 0)).where(EVENTS.c.search == key)
    ).scalar_one()
    for number, (kind, data) in enumerate(events, start=last + 1):
        row = {"search": key, "number": number, "kind": kind, "data": json.dumps(data)}
        connection.execute(insert(EVENTS).values(**row, time=now()))
