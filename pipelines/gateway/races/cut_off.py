"""Cancellation of calls whose replies are no longer needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from pipelines.gateway.event_loop import start

T = TypeVar("T")


class WasCut(BaseException):
    """The call was cut off. Not an `Exception`: nothing may take it for a failure."""


class NotSent(WasCut):
    """The call was cut off before it was sent."""


class CutOff:
    """Ends a group of calls wherever they are, on their way or at the provider. For threads."""

    def __init__(self) -> None:
        self._was_cut = threading.Event()
        self._at_provider: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def now(self) -> None:
        """Cut off all of them: open requests are cancelled, which closes their connections."""
        with self._lock:
            self._was_cut.set()
            requests = tuple(self._at_provider)
        for request in requests:
            request.cancel()

    def check(self) -> None:
        """Raise `WasCut` if they are cut off."""
        if self._was_cut.is_set():
            raise WasCut

    def wait(self, seconds: float) -> None:
        """Wait so long, or until they are cut off."""
        self._was_cut.wait(seconds)

    def result(self, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the request.

        Raises:
            NotSent: it was cut off before.
            WasCut: it was cut off meanwhile.
        """
        with self._lock:
            if self._was_cut.is_set():
                raise NotSent
            future = start(request())
            self._at_provider.add(future)
        try:
            return future.result()
        except CancelledError:
            self.check()
            raise  # not by us: a failure like others
        except BaseException:
            future.cancel()  # ctrl-C while it was awaited
            raise
        finally:
            with self._lock:
                self._at_provider.discard(future)
