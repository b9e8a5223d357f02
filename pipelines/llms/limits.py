"""Waiting for a provider: how many calls at once, how many a minute, and pauses it asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """What one provider allows."""

    concurrency: int = Field(default=64, ge=1)
    """Most calls in flight at once."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Most calls started a minute; None does not limit."""


class ProviderGate:
    """Lets calls to one provider through as its limit allows. Safe for threads."""

    def __init__(self, limit: Limit) -> None:
        self._slots = threading.BoundedSemaphore(limit.concurrency)
        self._interval = 60.0 / limit.requests_per_minute if limit.requests_per_minute else 0.0
        self._lock = threading.Lock()
        self._next_start = 0.0

    @contextmanager
    def passage(self) -> Iterator[None]:
        """Hold one of the provider's slots, from the moment when its rate allows a call."""
        with self._slots:
            self._wait_for_turn()
            yield

    def pause(self, seconds: float) -> None:
        """No call starts for that long: the provider said that it is too many."""
        with self._lock:
            self._next_start = max(self._next_start, time.monotonic() + seconds)

    def _wait_for_turn(self) -> None:
        while True:
            with self._lock:
                wait = self._next_start - time.monotonic()
                if wait <= 0:
                    self._next_start = time.monotonic() + self._interval
                    return
            time.sleep(wait)
