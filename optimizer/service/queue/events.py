"""Events of searches, which users watch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Connection

from optimizer.service.database import EVENTS, SEARCHES, now

Event = tuple[str, Mapping[str, Any]]
"""Its kind and data: a `trial` with its `number`, a `warning`, or a change of state."""


def append_new(connection: Connection, key: str, events: Sequence[Event]) -> None:
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
