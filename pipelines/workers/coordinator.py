"""The coordinator's end: which workers are connected, and what each has in flight."""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pipelines.gateway.call import LMCall
from pipelines.gateway.concurrency import LOOK_S
from pipelines.gateway.failures import BROKEN, NOT_SENT
from pipelines.gateway.provider import ProviderReply
from pipelines.gateway.workers import WorkersGone
from pipelines.workers.wire import (
    BROKEN_CONNECTION,
    SILENT_S,
    Frames,
    Refused,
    check_proof,
    new_nonce,
    proof,
    version,
)
from pipelines.workers.worker import UnreadableCall

logger = logging.getLogger(__name__)

PLACES = 64
"""Most calls that one worker has in flight."""
_WARN_EVERY_S = 10.0


class _Lost(Exception):
    """The worker is gone, and what it had in flight with it."""


class _Worker:
    """One connected worker."""

    def __init__(self, name: str, frames: Frames) -> None:
        self.name = name
        self.frames = frames
        self.flights: dict[int, asyncio.Future[Any]] = {}


class Coordinator:
    """Hands calls to connected workers. All but `__init__` is for the event loop.

    Budget, limits, cache and retries are the session's, as for calls of its own: a worker gets one
    request, and its reply is settled here. What a lost worker had in flight is a broken connection:
    charged at its worst, and asked again.
    """

    def __init__(self, key: bytes, outage_s: float) -> None:
        """`outage_s` is how long no worker may be connected, once one was."""
        self.refused: dict[str, str] = {}
        """Workers that were not accepted, by name, and why."""
        self.connected = asyncio.Event()
        """Set with the first worker."""
        self.problem: Callable[[], str] = lambda: ""
        """What is known of why no worker is there."""
        self._key = key
        self._outage_s = outage_s
        self._workers: deque[_Worker] = deque()
        self._numbers = itertools.count()
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._gone_since: float | None = None
        self._warned_at = 0.0
        self._server: asyncio.Server | None = None

    async def listen(self, host: str) -> int:
        """Accept workers from now on; returns the port."""
        self._server = await asyncio.start_server(self._accept, host, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Disconnect the workers."""
        if self._server is not None:
            self._server.close()
        for worker in list(self._workers):
            worker.frames.close()

    async def enter(self, check: Callable[[], None]) -> None:
        """Wait for a worker that has a place; each `enter` must be followed by `leave`.

        `check` is called while waiting; what it raises ends the wait.

        Raises:
            WorkersGone: for too long no worker was connected.
        """
        place: asyncio.Future[None] | None = None
        try:
            while self._held >= PLACES * len(self._workers):
                if place is None or place.done():
                    place = asyncio.get_running_loop().create_future()
                    self._waiting.append(place)
                await asyncio.wait([place], timeout=LOOK_S)
                check()
                self._check_outage()
        except BaseException:
            if place is not None and not place.cancel():
                self._wake(1)  # the place that it was given goes to the next one
            raise
        self._held += 1

    def leave(self) -> None:
        """Give the place back."""
        self._held -= 1
        self._wake(1)

    async def send(self, call: LMCall, timeout_s: float) -> ProviderReply:
        """Have a worker make the call, after `enter`.

        Raises:
            CallFailed: as `Provider.send`; or the worker was lost.
        """
        try:
            pickled = pickle.dumps((call, timeout_s), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # whatever may be among its parameters
            detail = f"the call can't be pickled for a worker: {error}"
            raise NOT_SENT.failure(call, detail) from None
        worker = self._next()
        number = next(self._numbers)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        worker.flights[number] = reply
        worker.frames.post((number, pickled))
        try:
            answer = await reply
        except asyncio.CancelledError:
            worker.frames.post((number, None))
            raise
        finally:
            worker.flights.pop(number, None)
        if isinstance(answer, _Lost):
            raise BROKEN.failure(call, f"{answer} was lost")
        if isinstance(answer, UnreadableCall):
            raise NOT_SENT.failure(call, f"the worker {worker.name} can't read the call: {answer}")
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, ProviderReply)
        return answer

    def _next(self) -> _Worker:
        """Take turns among those that have a place."""
        for _ in range(len(self._workers)):
            self._workers.rotate(-1)
            if len(self._workers[0].flights) < PLACES:
                break
        return self._workers[0]

    def _check_outage(self) -> None:
        if self._workers or self._gone_since is None:
            return
        now = time.monotonic()
        gone, problem = now - self._gone_since, self.problem()
        why = f" ({problem})" if problem else ""
        if gone >= self._outage_s:
            raise WorkersGone(f"no worker has been connected for {gone:.0f} s{why}")
        if now - self._warned_at > _WARN_EVERY_S:
            self._warned_at = now
            left = self._outage_s - gone
            logger.warning(
                "no worker is connected%s; waiting for up to %.0f s (Gateway(outage_s=...))",
                why, left,
            )  # fmt: skip

    def _wake(self, count: int) -> None:
        while self._waiting and count:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                count -= 1

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames(reader, writer)
        try:
            name = await self._greeted(frames)
        except (Refused, ValueError, *BROKEN_CONNECTION):  # no worker of this search
            name = None
        closed = self._server is None or not self._server.is_serving()
        if name is None or closed:
            frames.close()
            return
        worker = _Worker(name, frames)
        self._enlist(worker)
        try:
            while True:
                async with asyncio.timeout(SILENT_S):
                    answers = await frames.batch()
                for number, answer in answers:
                    reply = worker.flights.get(number)
                    if reply is not None and not reply.done():
                        reply.set_result(answer)
        except BROKEN_CONNECTION:
            pass
        finally:
            self._dismiss(worker)

    async def _greeted(self, frames: Frames) -> str | None:
        """The worker's name; None if its version is another one."""
        heard, nonce = await frames.receive_line(), new_nonce()
        proved = proof(self._key, "coordinator", heard.get("nonce", ""))
        frames.send_line({"nonce": nonce, "proof": proved})
        check_proof(self._key, "worker", nonce, (await frames.receive_line()).get("proof"))
        name, its = heard.get("name", "?"), heard.get("version", "?")
        if its == version():
            return name
        if name not in self.refused:
            self.refused[name] = f"the worker {name} has version {its}, and this is {version()}"
            logger.warning("%s: it is refused; install the same", self.refused[name])
        return None

    def _enlist(self, worker: _Worker) -> None:
        if self._gone_since is not None:
            logger.warning("workers are connected again: %s", worker.name)
        self._workers.append(worker)
        self._gone_since = None
        self.connected.set()
        self._wake(PLACES)

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.frames.close()
        for reply in worker.flights.values():
            if not reply.done():
                reply.set_result(_Lost(f"the worker {worker.name}"))
        if not self._workers:
            self._gone_since = time.monotonic()
            self._wake(len(self._waiting))
