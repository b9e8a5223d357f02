"""The one event loop that requests to providers run on."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_OPENING = threading.Lock()
"""`functools.cache` would let two threads open two loops; clients belong to one."""


def start(request: Coroutine[Any, Any, T]) -> Future[T]:
    """Have the request run on the loop; to cancel the future cancels it there."""
    return asyncio.run_coroutine_threadsafe(request, _event_loop())


def _event_loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; a fork needs one of its own."""
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
