"""The life of one call: recorded, in another thread's flight, or reserved, sent and settled."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from functools import cached_property

from pipelines.gateway.account import Account
from pipelines.gateway.call import CallFailed, LMCall, LMReply
from pipelines.gateway.failures import BROKEN, UNSUPPORTED_INPUT, UNUSABLE_MODEL
from pipelines.gateway.limits import ProviderGate
from pipelines.gateway.metering import metered
from pipelines.gateway.prices import ModelError, Price
from pipelines.gateway.provider import Provider, ProviderReply
from pipelines.gateway.races.cut_off import CutOff, NotSent


class CallLife:
    """The life of one call, from request to reply. A race's calls share it until cut off."""

    def __init__(self, account: Account, call: LMCall) -> None:
        self.account = account
        self.call = call
        self._store = account.gateway.store
        self._flights = account.gateway.flights
        self.cut = CutOff()

    @property
    def _provider(self) -> Provider:
        return self.account.gateway.provider(self.call.model)

    @cached_property
    def price(self) -> Price:
        """What its tokens cost.

        Raises:
            CallFailed: nobody knows, or the model takes no tools, though the call has some.
        """
        tools = self.call.all_params.get("tools")
        if tools and not self._provider.takes(self.call.model, "tools", tools):
            told = (
                "the parameter 'tools': as far as is known it takes none; a server of OpenAI's "
                "form that does is asked directly as Model('openai/...', api_base=...)"
            )
            raise UNSUPPORTED_INPUT.failure(self.call, told)
        try:
            return self._provider.price_of(self.call.model)
        except ModelError as error:
            raise UNUSABLE_MODEL.failure(self.call, str(error)) from error

    def run(self) -> LMReply:
        """The reply: from the cache, from a thread that is making this call, or paid for."""
        return self._flights.once(self.call.key, self.recorded, self.pay, self.check_waiting)

    def recorded(self) -> LMReply | None:
        """The reply that the cache holds."""
        return self._store.reply(self.call.key)

    def pay(self) -> LMReply:
        """Make the call, and again if it fails for a while; its flight is the caller's."""
        try:
            return self._attempts()
        except CallFailed:
            raise
        except BaseException:
            self.account.settle(self.call, None, billed=True)  # ctrl-C: it may be still reserved
            raise

    def check_waiting(self) -> None:
        """Raise if it is pointless to go on waiting for another thread's reply."""
        self.account.check_not_stopped()

    def check(self) -> None:
        """Raise if the call should not be sent any more."""
        self.account.check_running()

    def wait(self, seconds: float) -> None:
        """Wait before a retry."""
        self.account.wait(seconds)

    def reserve(self) -> bool:
        """Reserve the worst that an attempt may cost; False if it is answered by now."""
        call = self.call
        worst = {call.key: self.price.worst_usd(call)}
        return self.account.reserve(
            worst, call.purpose, f"a call to {call.model.label}", self.check
        )  # fmt: skip

    def send(self) -> LMReply:
        """Make one request."""
        try:
            sent, elapsed_s = self.cut.result(self._timed)
        except CancelledError:
            raise BROKEN.failure(self.call, "the request was cancelled") from None
        return metered(self.call, sent, self.price, elapsed_s)

    def settle_cut_off(self) -> None:
        """Settle a request whose reply did not arrive because it was cut off on our side."""
        self.account.settle(self.call, None, billed=True)

    async def _timed(self) -> tuple[ProviderReply, float]:
        started = time.perf_counter()
        deadline_s = self.account.health.pace(self.call).deadline_s
        sent = await self._provider.send(self.call, deadline_s)
        return sent, time.perf_counter() - started

    def _attempts(self) -> LMReply:
        gateway, health = self.account.gateway, self.account.health
        gate = gateway.gate(self.call.model.provider)
        attempt = 0
        while True:
            with health.reachable(self.call, self._check_reachable):
                try:
                    if not self.reserve() and (recorded := self.recorded()) is not None:
                        return recorded
                    return self._attempt(gate)
                except CallFailed as failure:
                    failure.attempts = attempt + 1
                    if failure.away:
                        health.note_away(self.call, failure)
                        continue
                    if not failure.retryable or attempt == gateway.retries:
                        raise
                    failed = failure
            self._wait_to_retry(gate, attempt, failed)
            attempt += 1

    def _check_reachable(self) -> None:
        """As `check`, or if the model was set aside; what a race has reserved is given back."""
        try:
            self.account.health.check(self.call)
            self.check()
        except BaseException:
            self.account.release(self.call)
            raise

    def _attempt(self, gate: ProviderGate) -> LMReply:
        """Make a reserved call once, and settle it; give the reservation back if it never left."""
        try:
            gate.enter(self.check)
        except BaseException:
            self.account.release(self.call)
            raise
        try:
            with self.account.sending():
                return self._sent()
        finally:
            gate.leave()

    def _sent(self) -> LMReply:
        health = self.account.health
        pace = health.pace(self.call)
        started, deadline_s = time.monotonic(), pace.deadline_s
        try:
            reply = self.send()
            self.account.settle(self.call, reply)
            health.note_reply(self.call)
            pace.answered(time.monotonic() - started)
            return reply
        except CallFailed as failure:
            if not failure.sent:
                self.account.release(self.call)
                raise
            self.account.settle(self.call, None, billed=failure.billed)
            waited_s = time.monotonic() - started
            if failure.kind == "timeout" and waited_s >= 0.9 * deadline_s:  # no server's 504
                pace.late(waited_s)
            if not failure.away:
                health.connection(self.call).connected()
            raise
        except NotSent:
            self.account.release(self.call)
            raise
        except BaseException:
            self.settle_cut_off()
            raise

    def _wait_to_retry(self, gate: ProviderGate, attempt: int, failure: CallFailed) -> None:
        seconds = self.account.gateway.backoff(attempt, failure)
        if failure.kind == "rate_limited":
            gate.pause(seconds)
        self.wait(seconds)
        self.check()
