"""Batches: calls that wait at the same time are sent together, for less and to be answered later.

docs/deployments.md, "Batches", has the rule by which a call is batched; docs/decisions/021, why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pipelines.gateway.budget import PurposeSpend
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.storage.store import Settlement

if TYPE_CHECKING:
    from pipelines.gateway.provider import BatchEndpoint, BatchResults
    from pipelines.gateway.storage.store import Store

logger = logging.getLogger(__name__)

QUIET_S = 1.0
"""A batch is sent once no further call has joined it for so long."""
_POLL_SHARE, _FIRST_POLL_S, _LAST_POLL_S = 0.1, 0.05, 60.0
"""A batch is looked at again after a tenth of the time waited so far, within these bounds."""
_CHECK_S = 0.5
"""Seconds between two checks of a waiting call whether to go on; thousands may wait."""

Queue: TypeAlias = tuple[str, str | None, str | None]
"""A model's name, address and key: what the calls of a batch share."""


class _Open:
    """A batch that calls still join."""

    def __init__(self) -> None:
        self.calls: dict[str, LMCall] = {}
        self.joined = time.monotonic()
        self.is_open = True
        self.sent: asyncio.Task[str | None] | None = None


class _Sent:
    """A batch that calls wait for."""

    def __init__(self, results: asyncio.Task[BatchResults]) -> None:
        self.results = results
        self.waiting = 0


class Batches:
    """The batches of one gateway that are filled or waited for. On the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[Queue, _Open] = {}
        self._sent: dict[tuple[Queue, str], _Sent] = {}
        self._closed: set[Queue] = set()
        self._told = False

    async def send(
        self,
        call: LMCall,
        min_calls: int,
        endpoint: BatchEndpoint,
        timeout_s: float,
        check: Callable[[], None],
    ) -> str | None:
        """Send a reserved call with the others that wait: the batch's id; None if too few do.

        Until the batch is sent, what `check` raises ends the wait; the reservation is given back.

        Raises:
            CallFailed: as `BatchEndpoint.create`.
        """
        queue = _queue(call)
        if queue in self._closed:
            return None
        batch = self._open.setdefault(queue, _Open())
        batch.calls[call.batch_key] = call
        batch.joined = time.monotonic()
        if batch.sent is None:
            filled = self._filled(queue, batch, min_calls, endpoint, timeout_s)
            batch.sent = asyncio.create_task(filled)
        try:
            while not batch.sent.done():
                await asyncio.wait([batch.sent], timeout=_CHECK_S)
                if batch.is_open:
                    check()
        except BaseException:
            if batch.is_open:
                del batch.calls[call.batch_key]
                self._store.settle(Settlement(call.batch_key, "", "", PurposeSpend()))
            raise
        return batch.sent.result()

    async def results(
        self,
        call: LMCall,
        batch: str,
        endpoint: BatchEndpoint,
        timeout_s: float,
        check: Callable[[], None],
    ) -> BatchResults:
        """The results of a batch that was sent; what `check` raises ends the wait.

        Raises:
            CallFailed: they can't be had.
        """
        name = _queue(call), batch
        sent = self._sent.get(name)
        if sent is None:
            polling = asyncio.create_task(_polled(call, batch, endpoint, timeout_s))
            sent = self._sent[name] = _Sent(polling)
            self._store.awaited_batches.add(batch)
        sent.waiting += 1
        try:
            while not sent.results.done():
                await asyncio.wait([sent.results], timeout=_CHECK_S)
                check()
            return sent.results.result()
        finally:
            sent.waiting -= 1
            if not sent.waiting:
                sent.results.cancel()
                del self._sent[name]
                self._store.awaited_batches.discard(batch)

    async def _filled(
        self, queue: Queue, batch: _Open, min_calls: int, endpoint: BatchEndpoint, timeout_s: float
    ) -> str | None:
        """Wait till no further call joins, and send them."""
        while (left := batch.joined + QUIET_S - time.monotonic()) > 0:
            await asyncio.sleep(left)
        batch.is_open = False
        del self._open[queue]
        if len(batch.calls) < min_calls:
            return None
        try:
            sent = await endpoint.create(list(batch.calls.values()), timeout_s)
        except CallFailed as failure:
            logger.warning("a batch of %d calls was not sent: %s", len(batch.calls), failure)
            if not failure.retryable:
                self._closed.add(queue)
            raise
        self._store.send_in_batch(batch.calls, sent)
        logger.info("batch %s was sent, with %d calls", sent, len(batch.calls))
        if not self._told:
            self._told = True
            logger.warning("calls are sent by batch: their latency is unknown")
        return sent


def _queue(call: LMCall) -> Queue:
    return call.model.name, call.model.api_base, call.model.api_key_env


async def _polled(
    call: LMCall, batch: str, endpoint: BatchEndpoint, timeout_s: float
) -> BatchResults:
    """The results, as soon as the provider has them, through all outages."""
    began = time.monotonic()
    while True:
        try:
            found = await endpoint.results(call, batch, timeout_s)
        except CallFailed as failure:
            if not (failure.retryable or failure.away):
                raise
            logger.warning("batch %s is looked for again: %s", batch, failure)
        else:
            if found is not None:
                if found.problem:
                    logger.warning("batch %s: %s", batch, found.problem)
                return found
        waited = time.monotonic() - began
        await asyncio.sleep(min(max(_POLL_SHARE * waited, _FIRST_POLL_S), _LAST_POLL_S))
