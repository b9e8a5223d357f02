"""What runs on a worker: it makes the coordinator's calls, and keeps nothing."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import Sequence
from typing import Any

from pipelines.gateway.call import CallFailed
from pipelines.gateway.concurrency.event_loop import run
from pipelines.providers import provider_of
from pipelines.workers.wire import (
    BEAT_S,
    BROKEN_CONNECTION,
    Frames,
    Refused,
    check_proof,
    new_nonce,
    proof,
    version,
)

_CONNECT_S = 5.0

Address = tuple[str, int]


class UnreadableCall(Exception):
    """A call that the worker could not begin to make."""


def serve(addresses: Sequence[Address], key: bytes) -> str:
    """Make calls until the coordinator closes the connection. This is the joblib task.

    Args:
        addresses: where the coordinator may be reached; the first that answers is taken.
        key: what both ends prove to hold.

    Returns:
        Why it ended.
    """
    return run(_serve(addresses, key))


async def _serve(addresses: Sequence[Address], key: bytes) -> str:
    frames = await _greeted(addresses, key)
    if frames is None:
        return "no connection to the coordinator"
    worker = _Worker(frames)
    beat = asyncio.ensure_future(worker.beat())
    try:
        while True:
            for number, call in await frames.batch():
                worker.take(number, call)
    except BROKEN_CONNECTION as error:
        return f"the connection ended: {error}"
    finally:
        beat.cancel()
        worker.drop_all()
        frames.close()


async def _greeted(addresses: Sequence[Address], key: bytes) -> Frames | None:
    for host, port in addresses:
        try:
            async with asyncio.timeout(_CONNECT_S):
                frames = Frames(*await asyncio.open_connection(host, port))
        except OSError:
            continue
        try:
            await _greet(frames, key)
        except (Refused, ValueError, *BROKEN_CONNECTION):  # another program has that address here
            frames.close()
        else:
            return frames
    return None


async def _greet(frames: Frames, key: bytes) -> None:
    nonce = new_nonce()
    frames.send_line(
        {"nonce": nonce, "version": version(), "name": f"{socket.gethostname()}:{os.getpid()}"}
    )
    heard = await frames.receive_line()
    check_proof(key, "coordinator", nonce, heard.get("proof"))
    frames.send_line({"proof": proof(key, "worker", heard.get("nonce", ""))})


class _Worker:
    """The calls that one connection has in flight."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def take(self, number: int, call: bytes | None) -> None:
        """Make the call of this number; None cuts it off."""
        if call is not None:
            self._tasks[number] = asyncio.ensure_future(self._make(number, call))
        elif task := self._tasks.get(number):
            task.cancel()

    async def beat(self) -> None:
        """Show that this worker lives."""
        while True:
            await asyncio.sleep(BEAT_S)
            self._frames.flush()

    def drop_all(self) -> None:
        """Cut off what is in flight: nobody is there to take the replies."""
        for task in self._tasks.values():
            task.cancel()

    async def _make(self, number: int, pickled: bytes) -> None:
        try:
            self._frames.post((number, await _answer(pickled)))
        finally:
            del self._tasks[number]


async def _answer(pickled: bytes) -> Any:
    """A `ProviderReply`, or what was raised instead."""
    try:
        call, timeout_s = pickle.loads(pickled)
    except Exception as error:  # it may name classes that only the coordinator has
        return UnreadableCall(f"{type(error).__name__}: {error}")
    try:
        return await provider_of(call.model).send(call, timeout_s)
    except CallFailed as failure:
        return failure
    except Exception as error:  # it may be of a class that only this machine has
        return RuntimeError(f"{type(error).__name__}: {error}")
