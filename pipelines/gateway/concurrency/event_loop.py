"""Event loops in threads of their own; calls in flight run on one."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_OPENING = threading.Lock()
"""`functools.cache` would let two threads open two loops; clients belong to one."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of work on the loop. Ctrl-C cancels it, and rises once it has ended."""
    loop, ended = event_loop("calls", _TidyThreads), threading.Event()
    tasks: list[asyncio.Task[T]] = []

    def begin() -> None:
        tasks.append(loop.create_task(work))
        tasks[0].add_done_callback(lambda _: ended.set())

    loop.call_soon_threadsafe(begin)
    try:
        ended.wait()
    except BaseException:
        loop.call_soon_threadsafe(lambda: tasks[0].cancel())
        ended.wait()
        raise
    return tasks[0].result()


def event_loop(name: str, executor: Callable[[], ThreadPoolExecutor]) -> asyncio.AbstractEventLoop:
    """The loop of this name, in a thread of its own; a fork opens another one.

    `executor` makes the threads of `asyncio.to_thread` when the loop is opened.
    """
    with _OPENING:
        return _opened_loop(name, executor, os.getpid())


@functools.cache
def _opened_loop(
    name: str, executor: Callable[[], ThreadPoolExecutor], _process: int
) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(executor())
    threading.Thread(target=_run_forever, args=[loop], name=name, daemon=True).start()
    return loop


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    while not loop.is_closed():
        with suppress(KeyboardInterrupt, SystemExit):  # raised by a task, whose awaiter gets it
            loop.run_forever()


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
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __del__(self) -> None:
        self.close()
