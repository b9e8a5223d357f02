"""Find the line of a table that a question names by its ID: `T-104: Compute 17 * 23 - 5`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain, zip_longest
from types import MappingProxyType

from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.solution import Solution

_LINE = re.compile(
    r"^[ \t]*(?:[-*|][ \t]*)?([A-Z]{1,4}-\d{1,6})[ \t]*[:|][ \t]*(\S.*?)[ \t|]*$", re.M
)
_ID = re.compile(r"\b[A-Z]{1,4}-\d{1,6}\b")


class Locate:
    """The text that stands beside the ID. Others tempt: neighbouring lines and similar IDs."""

    def solve(self, request: ParsedRequest) -> Solution | None:
        """Return the task text, and the ID as the extra output `id`."""
        for name, text in request.inputs.items():
            rows = _rows(text)
            asked = _asked_id(request, rows, name) if len(rows) >= 2 else None
            if asked:
                return _solution(text, asked[0], frozenset({name, asked[1]}))
        return None


@lru_cache(maxsize=4096)
def _rows(text: str) -> Mapping[str, str]:
    """Return the tasks of the table by ID."""
    return MappingProxyType(dict(_LINE.findall(text)))


def _asked_id(
    request: ParsedRequest, rows: Mapping[str, str], table: str
) -> tuple[str, str] | None:
    """Return the ID asked for and the field that asks: an ID of the table, else any ID."""
    texts = {n: _LINE.sub("", t) if _rows(t) else t for n, t in request.inputs.items()}
    found = [(match, name) for name, text in texts.items() for match in _ID.findall(text)]
    found += [(match, table) for match in _ID.findall(request.instructions)]
    known = [pair for pair in found if pair[0] in rows]
    return next(iter(known or found), None)


@lru_cache(maxsize=4096)
def _solution(table: str, asked: str, used: frozenset[str]) -> Solution:
    rows = _rows(table)
    ids = list(rows)
    place = ids.index(asked) if asked in rows else len(ids)
    similar = sorted((other for other in ids if other != asked), key=lambda o: -_alike(o, asked))
    neighbours = ids[max(0, place - 1) : place] + ids[place + 1 : place + 2]
    mixed = chain.from_iterable(zip_longest(neighbours, similar[:5]))
    return Solution(
        skill="locate",
        item=repr((asked, dict(rows))),
        right=rows.get(asked, f"There is no task {asked}."),
        wrong=tuple(rows[other] for other in mixed if other),
        used=used,
        extras={"id": asked, "task_id": asked},
    )


def _alike(left: str, right: str) -> int:
    """Return how many characters two IDs share, places not minded, plus those that agree."""
    agree = sum(a == b for a, b in zip(left, right, strict=False))
    return agree + len(set(left) & set(right))
