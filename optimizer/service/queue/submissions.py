"""Submissions: searches that users add, stop and resume, within the budgets of their tokens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from optimizer.errors import NotPossible, OverBudget
from optimizer.formatting import counted, dollars
from optimizer.service.database import SEARCHES, TOKENS, Database, now
from optimizer.service.queue.leases import append, storable
from optimizer.service.queue.listing import ENDED, owned
from optimizer.service.request import SearchRequest, Upload
from optimizer.service.tokens import Token
from pipelines.gateway.budget import PICO, Budget, picodollars


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
    given = request.model_dump(mode="json")
    stored = {"request": given, "models": models, "name": dataset.name}
    facts = {name: given[name] for name in ("models", "metric", "budget")}
    with database.writing() as connection:
        _check_budget(connection, token, budget)
        connection.execute(
            insert(SEARCHES).values(
                id=key, token=token.name, name=storable(name), state="queued", version=version,
                request=json.dumps(stored), facts=json.dumps({**facts, "dataset": dataset.name}),
                dataset=dataset.content, folder=request.folder,
                budget_usd=budget.usd, budget_calls=budget.calls, created=now(),
            )
        )  # fmt: skip
        append(connection, key, [("queued", {})])
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
            append(connection, key, [("stopped", {})])
            return
        running = update(SEARCHES).where(columns.id == key, name, columns.state == "running")
        if connection.execute(running.values(stop=True)).rowcount:
            append(connection, key, [("stopping", {})])
            return
        state = owned(connection, token, key)["state"]
        raise NotPossible(f"search {key} can't be stopped: it has ended ({state})")


def resume(database: Database, token: Token, key: str, version: str) -> None:
    """Put a search that was stopped or has failed back into the queue, for workers of a version.

    Raises:
        UnknownSearch: the token has none of this id.
        NotPossible: it has not ended, or is done.
        OverBudget: what it did not spend of its budget is no longer there.
    """
    with database.writing() as connection:
        row = owned(connection, token, key)
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
            append(connection, key, [("resumed", {})])
