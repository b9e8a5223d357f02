"""Runs tasks concurrently, and defines runs that pause instead of blocking a thread."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")

Resumable = Generator[Future[Any] | None, None, T]
"""A run that pauses, and may go on in another thread. It yields None before work that takes time,
such as a call, and a future where it can't go on before that is done. It returns its result."""


def finish(run: Resumable[T]) -> T:
    """Run to the end in the caller's thread, blocking at pauses; raises what the run raises."""
    while True:
        try:
            pause = next(run)
        except StopIteration as end:
            result: T = end.value
            return result
        if pause is not None:
            wait([pause])


def begin(work: Callable[[], T]) -> Future[T]:
    """Start work in a thread of its own, in a copy of the caller's context."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # who waits for it may be cancelled; the work goes on

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised by whoever asks for the result
            future.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=[run], name="run", daemon=True).start()
    return future


def run_together(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all tasks, in their order; each runs in a copy of the caller's context.

    A single task runs in the caller's thread. All are waited for, then the first error is raised.
    """
    if len(tasks) <= 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(len(tasks), thread_name_prefix="module") as threads:
        futures = [threads.submit(contextvars.copy_context().run, task) for task in tasks]
    return [future.result() for future in futures]
