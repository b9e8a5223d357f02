"""The life of one call: recorded, in flight already, or reserved, sent and settled."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import cached_property

from pipelines.gateway.budget import PurposeSpend
from pipelines.gateway.call import CallFailed, LMCall, LMReply
from pipelines.gateway.concurrency import LOOK_S
from pipelines.gateway.concurrency.limits import ProviderGate
from pipelines.gateway.execution.account import Account
from pipelines.gateway.execution.batched_call import BatchedCall
from pipelines.gateway.execution.metering import metered
from pipelines.gateway.failures import BROKEN, UNSUPPORTED_INPUT, UNUSABLE_MODEL
from pipelines.gateway.prices import ModelError, Price
from pipelines.gateway.provider import Provider
from pipelines.gateway.workers import Workers


class CallLife:
    """The life of one call, from request to reply, as a task on the event loop.

    Cancelled at any moment, it settles what it has reserved.
    """

    def __init__(self, account: Account, call: LMCall) -> None:
        self.account = account
        self.call = call
        self.lost = PurposeSpend()
        """The charge for a request that was cancelled under way."""

    @property
    def batched(self) -> bool:
        """Whether its reply may come by batch, without a latency."""
        return self.account.batches

    @property
    def _provider(self) -> Provider:
        return self.account.gateway.provider(self.call.model)

    @cached_property
    def price(self) -> Price:
        """What its tokens cost.

        Raises:
            CallFailed: no price is known, or the call has tools and the model takes none.
        """
        tools = self.call.all_params.get("tools")
        if tools and not self._provider.takes(self.call.model, "tools", tools):
            problem = (
                "the parameter 'tools': as far as is known it takes none; a server of OpenAI's "
                "form that does is asked directly as Model('openai/...', api_base=...)"
            )
            raise UNSUPPORTED_INPUT.failure(self.call, problem)
        try:
            return self._provider.price_of(self.call.model)
        except ModelError as error:
            raise UNUSABLE_MODEL.failure(self.call, str(error)) from error

    def look_up_price(self) -> None:
        """Look it up before the call starts: the provider may be slow to import."""
        with suppress(CallFailed):
            _ = self.price

    async def run(self) -> LMReply:
        """The reply: from the cache, from a task that is making this call, or paid for."""
        return await self.account.gateway.flights.once(
            self.call.key, self.recorded, self._attempts, self.account.check_not_stopped
        )

    async def once(self) -> LMReply:
        """The reply to one request, not repeated and not delayed if its server is away."""
        answered = self.recorded()
        if answered is None and not await self.reserve():
            answered = self.recorded()
        gate = self.account.gateway.gate(self.call.model.provider)
        return answered or await self._attempt(gate)

    def recorded(self) -> LMReply | None:
        """The reply that the cache holds."""
        return self.account.gateway.store.reply(self.call.key, batched=self.batched)

    async def reserve(self) -> bool:
        """Reserve the worst that an attempt may cost; False if it is answered by now."""
        call, account = self.call, self.account
        worst = {call.key: self.price.worst_usd(call)}
        return await account.reserve(
            worst, call.purpose, f"a call to {call.model.label}", account.check_running
        )

    def cost_if_cancelled(self) -> PurposeSpend:
        """What a request costs that is cancelled now: its worst, since the outcome is unknown."""
        call = self.call
        return PurposeSpend(
            self.price.worst_usd(call), 1, call.most_input_tokens, call.model.max_tokens
        )

    async def _attempts(self) -> LMReply:
        """Make the call, by batch if that pays, and again if it fails for a while."""
        if (batched := await self._by_batch()) is not None:
            return batched
        gateway, health = self.account.gateway, self.account.health
        gate = gateway.gate(self.call.model.provider)
        attempt = 0
        while True:
            async with health.reachable(self.call, self._check_reachable):
                try:
                    if not await self.reserve() and (recorded := self.recorded()) is not None:
                        return recorded
                    return await self._attempt(gate)
                except CallFailed as failure:
                    failure.attempts = attempt + 1
                    if failure.away:
                        health.note_away(self.call, failure)
                        continue
                    if not failure.retryable or attempt == gateway.retries:
                        raise
                    failed = failure
            await self._wait_to_retry(gate, attempt, failed)
            attempt += 1

    async def _by_batch(self) -> LMReply | None:
        """The reply by batch; None if the call is to be made directly."""
        batch = self.account.gateway.limit(self.call.model.provider).batch
        if batch is None or not self.batched:
            return None
        self._check_reachable()
        return await BatchedCall(self.account, self.call, self.price, batch).reply()

    def _check_reachable(self) -> None:
        """Raise if the run is over, or the model was set aside."""
        self.account.health.check(self.call)
        self.account.check_running()

    async def _attempt(self, gate: ProviderGate) -> LMReply:
        """Make a reserved call once, and settle it; give the reservation back if it never left."""
        workers = self.account.workers if self._provider.connects else None
        try:
            await self._enter(gate, workers)
        except BaseException:
            self.account.release(self.call)
            raise
        try:
            with self.account.sending():
                return await self._sent(workers or self._provider)
        finally:
            if workers is not None:
                workers.leave()
            gate.leave()

    async def _enter(self, gate: ProviderGate, workers: Workers | None) -> None:
        """Wait for a place of the provider's, and one on a worker."""
        await gate.enter(self.account.check_running)
        if workers is None:
            return
        try:
            await workers.enter(self.account.check_running)
        except BaseException:
            gate.leave()
            raise

    async def _sent(self, sender: Provider | Workers) -> LMReply:
        account, health = self.account, self.account.health
        pace = health.pace(self.call)
        started, deadline_s = time.monotonic(), pace.deadline_s
        try:
            reply = await self._reply(sender, deadline_s)
            account.settle(self.call, reply)
            health.note_reply(self.call)
            pace.answered(time.monotonic() - started)
            return reply
        except CallFailed as failure:
            if not failure.sent:
                account.release(self.call)
                raise
            account.settle(self.call, None, billed=failure.billed)
            waited_s = time.monotonic() - started
            if failure.kind == "timeout" and waited_s >= 0.9 * deadline_s:  # no server's 504
                pace.late(waited_s)
            if not failure.away:
                health.connection(self.call).connected()
            raise
        except asyncio.CancelledError:
            self.lost = self.cost_if_cancelled()
            account.settle_cut_off(self.call, self.lost)
            raise
        except BaseException:
            account.settle(self.call, None, billed=True)
            raise

    async def _reply(self, sender: Provider | Workers, deadline_s: float) -> LMReply:
        """Make one request."""
        try:
            sent = await sender.send(self.call, deadline_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise BROKEN.failure(self.call, "the request was cancelled") from None
        return metered(self.call, sent, self.price)

    async def _wait_to_retry(self, gate: ProviderGate, attempt: int, failure: CallFailed) -> None:
        seconds = self.account.gateway.backoff(attempt, failure)
        if failure.kind == "rate_limited":
            gate.pause(seconds)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_S))
            self.account.check_running()
