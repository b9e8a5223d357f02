"""One call by batch: reserved, sent with others, waited for, and settled at the batch's price."""

from __future__ import annotations

import math
from dataclasses import replace

from pipelines.gateway.budget import PurposeSpend
from pipelines.gateway.call import CallFailed, LMCall, LMReply
from pipelines.gateway.concurrency.limits import Batch
from pipelines.gateway.execution.account import Account
from pipelines.gateway.execution.metering import metered
from pipelines.gateway.prices import Price
from pipelines.gateway.provider import BatchResults
from pipelines.gateway.storage.store import Settlement


class BatchedCall:
    """The life of a call by batch, for as long as its batch has not failed.

    If the wait ends early, a call that was sent stays reserved in the store, with its batch's id,
    for whoever asks again, also in another process.
    """

    def __init__(self, account: Account, call: LMCall, price: Price, batch: Batch) -> None:
        self.account = account
        self.call = call
        self.price = price
        self.batch = batch

    async def reply(self) -> LMReply | None:
        """The reply, at its price without a batch; None if the call is to be made directly.

        Raises:
            CallFailed: the call, made, failed in a way that stays.
        """
        store = self.account.gateway.store
        while (sent := store.batch_of(self.call.batch_key)) is None:
            if not self._pays:
                return None
            if await self._reserve():
                sent = await self._sent()
                break
            if (known := store.reply(self.call.key, batched=True)) is not None:
                return known
        return await self._fetched(sent) if sent else None

    @property
    def _pays(self) -> bool:
        """Whether a batch costs less, and there is time for it; tiers have a price of their own."""
        costs = self._worst_usd > 0 and not self.call.model.tier
        return costs and self.batch.within_s <= self.account.seconds_left

    @property
    def _worst_usd(self) -> float:
        return self.batch.price * self.price.worst_usd(self.call)

    async def _reserve(self) -> bool:
        """Reserve the worst that it may cost; False if it was answered or sent by others."""
        what = f"a batched call to {self.call.model.label}"
        worst, check = {self.call.batch_key: self._worst_usd}, self.account.check_running
        return await self.account.reserve(worst, self.call.purpose, what, check)

    async def _sent(self) -> str | None:
        """The id of the batch that it was sent in; None, without a reservation, if in none."""
        gateway, check = self.account.gateway, self.account.check_running
        try:
            sent = await gateway.batches.send(
                self.call, self.batch.min_calls, gateway.batch_endpoint(), gateway.timeout_s, check
            )
        except CallFailed as failure:
            if failure.billed:
                self._settle(None)
            else:
                self._release()
            return None
        if sent is None:
            self._release()
        return sent

    async def _fetched(self, sent: str) -> LMReply | None:
        """The reply in a batch; None if it brought none, and asking again may."""
        gateway = self.account.gateway
        endpoint, check = gateway.batch_endpoint(), self.account.check_running
        try:
            results = await gateway.batches.results(
                self.call, sent, endpoint, gateway.timeout_s, check
            )
        except CallFailed:
            self._settle(None)
            return None
        try:
            return self._read(results)
        except CallFailed as failure:
            if not failure.sent:
                self._release()
                return None
            self._settle(None if failure.billed else PurposeSpend(calls=1))
            if failure.retryable:
                return None
            failure.latency_s = math.nan
            raise

    def _read(self, results: BatchResults) -> LMReply:
        brought = self.account.gateway.batch_endpoint().reply(self.call, results)
        reply = replace(metered(self.call, brought, self.price), latency_s=math.nan)
        paid = replace(reply.cost, usd=self.batch.price * reply.usd)
        self._settle(paid, reply)
        return reply

    def _settle(self, cost: PurposeSpend | None, reply: LMReply | None = None) -> None:
        call, study = self.call, self.account.study
        settled = Settlement(call.batch_key, study, call.purpose, cost, reply)
        self.account.gateway.store.settle(settled)

    def _release(self) -> None:
        self._settle(PurposeSpend())
