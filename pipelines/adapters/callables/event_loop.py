"""The event loop that all asynchronous code runs on, as in a server.

One, since clients that are made once stick to the loop of their first call, and since litellm keeps
a queue of its own on the loop that it was last used on, for the whole process: on a loop for each
run it would carry that queue along, ever longer, and warn each time.
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
    """What a function returned, once it is there."""
    if not inspect.isawaitable(said):
        return said
    with _OPENING:
        loop = _opened_loop(os.getpid())
    future = asyncio.run_coroutine_threadsafe(_result(said), loop)
    try:
        return future.result()
    finally:
        future.cancel()  # ctrl-C: nobody waits for it any more


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
    """Whoever awaits a task that exits gets its `SystemExit`; asyncio ends the loop as well."""
    while True:
        try:
            return loop.run_forever()
        except SystemExit:
            continue
