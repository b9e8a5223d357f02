"""A memo of values by key, such as modules' steps, and fingerprints of inputs for keys."""

from __future__ import annotations

import datetime
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from pipelines.programs.concurrency import Resumable, run_together

V = TypeVar("V")


class Memo(dict[Any, Any]):
    """Values by key, each made once even when several threads ask for it at the same time.

    Programs keep steps by `MemoKey` in it, and members' responses by `MemberKey`. The first thread
    that misses a key claims it, computes the value and lands it; others wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self._flights: dict[Any, Future[Any]] = {}
        self._passing: set[Any] = set()
        """Keys of values that are known only while `keeping_all`."""
        self._keepers = 0
        self._lock = threading.Lock()

    def make(
        self, makers: Mapping[Any, Callable[[], V]], lasts: Callable[[V], bool]
    ) -> Resumable[dict[Any, V]]:
        """The values of all keys; missing ones are made concurrently. Pauses hold no claims.

        A maker never returns None. Nothing is kept under a key that is a bare `object()`, nor a
        value for
        which `lasts` is false, such as an outage: only threads already waiting get that. What a
        maker raises
        is raised, and waiting threads then make the value themselves.
        """
        found = {key: self[key] for key in makers if key in self}
        while missing := [key for key in makers if key not in found]:
            yield None
            claims = {key: self.claim(key) for key in missing}
            mine = {key: flight for key, (flight, is_mine) in claims.items() if is_mine}
            try:
                made = run_together([partial(self._made, key, makers[key], lasts) for key in mine])
            finally:
                for key, flight in mine.items():
                    if not flight.done():
                        self.land(key)
            found.update(zip(mine, made, strict=True))
            for key, (flight, is_mine) in claims.items():
                if not is_mine:
                    yield flight
                    if flight.result() is not None:
                        found[key] = flight.result()
        return found

    def claim(self, key: Any) -> tuple[Future[Any], bool]:
        """The future of the value, and whether the caller must make it and then `land` it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = Future()
            if key in self:
                flight.set_result(self[key])
                return flight, False
            self._flights[key] = flight
            return flight, True

    def land(self, key: Any, value: Any = None, *, lasts: bool = True) -> None:
        """Give a claimed value to the waiting threads; None leaves them to compute it."""
        with self._lock:
            flight = self._flights.pop(key)
            if value is not None and (lasts or self._keepers):
                self[key] = value
                if not lasts:
                    self._passing.add(key)
        flight.set_result(value)

    @contextmanager
    def keeping_all(self) -> Iterator[None]:
        """Context in which transient values are kept too. All runs that share a step then meet the
        same outage, in whatever order they come."""
        with self._lock:
            self._keepers += 1
        try:
            yield
        finally:
            with self._lock:
                self._keepers -= 1
                if not self._keepers:
                    for key in self._passing:
                        del self[key]
                    self._passing.clear()

    def _made(self, key: Any, maker: Callable[[], V], lasts: Callable[[V], bool]) -> V:
        value = maker()
        self.land(key, value, lasts=type(key) is not object and lasts(value))
        return value


def fingerprint(values: Mapping[str, Any]) -> str | None:
    """64 hexadecimal digits that tell values apart wherever their exact JSON does. None if a value
    has no exact JSON."""
    try:
        text = json.dumps(values, sort_keys=True, default=_jsonable)
    except (TypeError, ValueError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def _jsonable(value: Any) -> Any:
    """JSON that tells two values apart whenever they differ; raises TypeError if there is none."""
    if hasattr(value, "model_dump"):
        return [type(value).__qualname__, value.model_dump(mode="json")]
    if isinstance(value, datetime.date | datetime.time):
        return [type(value).__qualname__, value.isoformat()]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return [str(value.dtype), value.tolist()]
    raise TypeError(f"no exact JSON for a {type(value).__name__}")
