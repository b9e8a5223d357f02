"""The event loop that all asynchronous code runs on, as in a server.

There is one loop, since clients stay bound to the loop of their first call, and litellm keeps a
process-wide queue on the loop that it last used: with a loop for each run, that queue would grow
and litellm would warn each time.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_CALLS_IN_FLIGHT = 256
"""Of all runs: as many as several providers allow. Python's default is a few more than
processors."""

_OPENING = threading.Lock()
"""`functools.cache` would let two threads open two loops."""


def awaited(said: Any) -> Any:
    """The function's result, awaited if it is a coroutine."""
    if not inspect.isawaitable(said):
        return said
    with _OPENING:
        loop = _opened_loop(os.getpid())
    future = asyncio.run_coroutine_threadsafe(_result(said), loop)
    try:
        return future.result()
    finally:
        future.cancel()  # after ctrl-C nothing waits for it


async def _result(said: Awaitable[Any]) -> Any:
    return await said


@functools.cache
def _opened_loop(process: int) -> asyncio.AbstractEventLoop:
    """A fork needs one of its own."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(_CALLS_IN_FLIGHT))
    threading.Thread(target=_run, args=(loop,), name="plain-python", daemon=True).start()
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """A task's `SystemExit` reaches its awaiter, but asyncio also ends the loop: restart it."""
    while True:
        try:
            return loop.run_forever()
        except SystemExit:
            continue
