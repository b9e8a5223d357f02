"""Cancellation of calls whose replies are no longer needed."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

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

    def result(self, request: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The result of the request.

        Raises:
            NotSent: it was cut off before.
            WasCut: it was cut off meanwhile.
        """
        with self._lock:
            if self._was_cut.is_set():
                raise NotSent
            future = asyncio.run_coroutine_threadsafe(request(), _event_loop())
            self._at_provider.add(future)
        try:
            return future.result()
        except CancelledError:
            self.check()
            raise  # not by us: a failure like others
        finally:
            with self._lock:
                self._at_provider.discard(future)


_OPENING = threading.Lock()
"""`functools.cache` would let two threads open two loops; litellm's clients belong to one."""


def _event_loop() -> asyncio.AbstractEventLoop:
    """The one loop that requests run on; a fork needs one of its own."""
    with _OPENING:
        return _opened_loop(os.getpid())


@functools.cache
def _opened_loop(process: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_TidyThreads(thread_name_prefix="requests"))
    threading.Thread(target=loop.run_forever, name="requests", daemon=True).start()
    return loop


class _TidyThreads(ThreadPoolExecutor):
    """Threads whose results nobody needs to await.

    litellm prepares a request in such a thread, as a coroutine. If it is cut off just then,
    nobody awaits that, and Python would warn on stderr.
    """

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Do the work in a thread."""

        def tidied() -> Any:
            made = work(*args, **kwargs)
            return _Prepared(made) if asyncio.iscoroutine(made) else made

        return super().submit(tidied)


class _Prepared(Coroutine[Any, Any, Any]):
    """A coroutine that is closed, without a warning, if it is dropped before it began."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        """As the coroutine."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """As the coroutine."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """As the coroutine."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __del__(self) -> None:
        self.close()
