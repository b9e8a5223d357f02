"""The event loop that all asynchronous code runs on, as in a server.

There is one loop, since clients stay bound to the loop of their first call, and litellm keeps a
process-wide queue on the loop that it last used: with a loop for each run, that queue would grow
and litellm would warn each time.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pipelines.gateway.concurrency.event_loop import event_loop

_THREADS = partial(ThreadPoolExecutor, 256)
"""For the calls in flight of all runs: as many as several providers allow. Python's default is a
few more than processors."""


def awaited(returned: Any) -> Any:
    """The function's result, awaited if it is a coroutine."""
    if not inspect.isawaitable(returned):
        return returned
    loop = event_loop("plain-python", _THREADS)
    future = asyncio.run_coroutine_threadsafe(_result(returned), loop)
    try:
        return future.result()
    finally:
        future.cancel()  # after ctrl-C nothing waits for it


async def _result(returned: Awaitable[Any]) -> Any:
    return await returned
