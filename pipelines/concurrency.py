"""Running a few slow things side by side."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def run_together(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all tasks, in their order; each runs in a copy of the caller's context.

    A single task runs in the caller's thread. Every task is waited for, also when one raises.

    Raises:
        BaseException: what the first of the tasks that raised has raised.
    """
    if len(tasks) <= 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(len(tasks), thread_name_prefix="module") as threads:
        futures = [threads.submit(contextvars.copy_context().run, task) for task in tasks]
    return [future.result() for future in futures]
