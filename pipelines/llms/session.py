"""One study's account: what it may spend, what it spent, and the life of its calls."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pipelines.llms.budget import Budget, RunningSpend, Spend, picodollars
from pipelines.llms.call import BudgetExhausted, CallFailed, LMCall, LMReply
from pipelines.llms.flights import Flight
from pipelines.llms.limits import ProviderGate
from pipelines.llms.store import Caps, Claim

if TYPE_CHECKING:
    from pipelines.llms.gateway import Gateway
    from pipelines.llms.prices import Price

_LOOK_S = 0.05
"""How often those who wait look whether another process has settled, or the run was stopped."""


class Left(NamedTuple):
    """What may still be spent; infinite without a cap."""

    usd: float
    calls: float


class Session:
    """One study's account at a gateway. Safe for threads."""

    def __init__(self, gateway: Gateway, study: str, budget: Budget) -> None:
        self.study = study
        self.budget = budget
        self.is_cached_only = False
        """Whether it answers only what it has answered before; see `cached_only`."""
        self._gateway = gateway
        self._store = gateway.store
        self._started = time.monotonic()
        self._protected = (0.0, 0, 0.0)
        self._seen: set[str] = set()
        self._nominal = RunningSpend()
        self._lock = threading.Lock()
        self._settled = threading.Condition()
        self._stopped = threading.Event()

    def complete(self, call: LMCall) -> LMReply:
        """The model's reply: from the cache, or from a call that the budget has room for.

        Raises:
            CallFailed: no answer, after all retries.
            BudgetExhausted: the call could break a cap, or the session was stopped.
        """
        self._check_not_stopped()
        if self.is_cached_only and call.key not in self._seen:
            raise BudgetExhausted(f"this call to {call.model.label} was not made before")
        reply = self._store.reply(call.key)
        while reply is None:
            flight, mine = self._gateway.flights.join(call.key)
            reply = self._fly(call, flight) if mine else self._wait_for(call, flight)
        with self._lock:
            if call.key not in self._seen:
                self._seen.add(call.key)
                self._nominal.add(call.purpose, reply.usd, reply.input_tokens, reply.output_tokens)
        return reply

    @property
    def spent(self) -> Spend:
        """Real spend: what was paid, in this process and in all others of the same study."""
        return self._store.spent(self.study)

    @property
    def nominal(self) -> Spend:
        """Nominal spend: every distinct call of this session once, at its recorded price.

        It does not depend on what the cache held, nor on the order of concurrent calls.
        """
        with self._lock:
            return self._nominal.spend

    def nominal_left(self) -> Left:
        """What nominal spend leaves of the caps, less what is protected."""
        usd, calls, _ = self._protected
        budget, nominal = self.budget, self.nominal
        return Left(
            math.inf if budget.usd is None else budget.usd - usd - nominal.usd,
            math.inf if budget.calls is None else budget.calls - calls - nominal.calls,
        )

    @property
    def seconds(self) -> float:
        """Seconds since the session was opened."""
        return time.monotonic() - self._started

    def protect(self, usd: float = 0.0, calls: int = 0, seconds: float = 0.0) -> None:
        """Keep that much of the budget out of reach, until `protect()` releases it again."""
        self._protected = (usd, calls, seconds)

    @contextmanager
    def cached_only(self) -> Iterator[None]:
        """Within it only calls that this session has made before are answered again.

        Any other is refused with `BudgetExhausted`, also when the cache has its reply: what the
        cache holds from other runs must not decide anything. It holds for all threads.
        """
        before, self.is_cached_only = self.is_cached_only, True
        try:
            yield
        finally:
            self.is_cached_only = before

    def stop(self) -> None:
        """Refuse every further call: whoever asks or waits gets `BudgetExhausted`.

        Only those go on that a provider is answering just now; their replies are kept.
        """
        self._stopped.set()

    def _fly(self, call: LMCall, flight: Flight) -> LMReply:
        try:
            # another thread may have landed between the look into the cache and the join
            return self._store.reply(call.key) or self._pay_for(call)
        except CallFailed as failure:
            flight.failure = failure
            raise
        except BaseException:
            self._store.abandon(call.key)  # ctrl-C may have come between reserving and settling
            raise
        finally:
            self._gateway.flights.land(call.key)

    def _wait_for(self, call: LMCall, flight: Flight) -> LMReply | None:
        """The reply that another thread got; None if it got none for a reason of its own."""
        while not flight.landed.wait(_LOOK_S):
            self._check_not_stopped()
        if flight.failure is not None:
            raise flight.failure
        return self._store.reply(call.key)

    def _pay_for(self, call: LMCall) -> LMReply:
        from pipelines.llms.prices import ModelError, price_of

        try:
            price = price_of(call.model)
        except ModelError as error:
            raise CallFailed("unusable_model", str(error)) from error
        gate = self._gateway.gate(call.model.provider)
        for attempt in range(self._gateway.retries + 1):
            recorded = self._reserve(call, price.worst_usd(call))
            if recorded is not None:
                return recorded
            try:
                return self._attempt(call, price, gate)
            except CallFailed as failure:
                failure.attempts = attempt + 1
                if not failure.retryable or attempt == self._gateway.retries:
                    raise
                self._wait_to_retry(gate, attempt, failure)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, call: LMCall, price: Price, gate: ProviderGate) -> LMReply:
        """Make a reserved call once, and settle it; give the reservation back if it never left."""
        from pipelines.llms.transport import send

        try:
            gate.enter(self._check_running)
        except BaseException:
            self._store.release(call.key)
            raise
        try:
            reply = send(call, price, self._gateway.timeout_s)
            self._settle(call, reply)
            return reply
        except CallFailed as failure:
            self._settle(call, None, billed=failure.billed)
            raise
        except BaseException:
            self._settle(call, None, billed=True)  # cut off: the provider may have answered
            raise
        finally:
            gate.leave()

    def _reserve(self, call: LMCall, worst_usd: float) -> LMReply | None:
        """Claim the call; the reply, if another process turns out to have made it."""
        while True:
            self._check_running()
            caps = self._caps()
            claim = self._store.claim(call.key, self.study, call.purpose, worst_usd, caps)
            if claim is Claim.GRANTED:
                return None
            if claim is Claim.ANSWERED:
                return self._store.reply(call.key)
            if claim is Claim.NO_ROOM:
                raise BudgetExhausted(self._no_room(call, worst_usd))
            with self._settled:
                self._settled.wait(_LOOK_S)

    def _settle(self, call: LMCall, reply: LMReply | None, *, billed: bool = False) -> None:
        self._store.settle(call.key, self.study, call.purpose, reply, billed=billed)
        with self._settled:
            self._settled.notify_all()

    def _wait_to_retry(self, gate: ProviderGate, attempt: int, failure: CallFailed) -> None:
        seconds = self._gateway.backoff(attempt, failure)
        if failure.kind == "rate_limited":
            gate.pause(seconds)
        self._stopped.wait(min(seconds, max(0.0, self._seconds_left)))
        self._check_running()

    def _caps(self) -> Caps:
        usd, calls, _ = self._protected
        budget = self.budget
        return Caps(
            None if budget.usd is None else picodollars(budget.usd - usd),
            None if budget.calls is None else budget.calls - calls,
        )

    @property
    def _seconds_left(self) -> float:
        cap = math.inf if self.budget.seconds is None else self.budget.seconds
        return cap - self._protected[2] - self.seconds

    def _check_not_stopped(self) -> None:
        if self._stopped.is_set():
            raise BudgetExhausted("the run was stopped")

    def _check_running(self) -> None:
        self._check_not_stopped()
        if self._seconds_left <= 0:
            kept = f" but for {self._protected[2]:.1f} kept back" if self._protected[2] else ""
            raise BudgetExhausted(f"the budget of {self.budget.seconds:g} seconds is used up{kept}")

    def _no_room(self, call: LMCall, worst_usd: float) -> str:
        spent, (usd, calls, _) = self.spent, self._protected
        kept = f", of which ${usd:.4f} and {calls} calls are kept back" if usd or calls else ""
        return (
            f"a call to {call.model.label} may cost ${worst_usd:.6f}; ${spent.usd:.6f} and "
            f"{spent.calls} calls are spent of {_caps_text(self.budget)}{kept}"
        )


def _caps_text(budget: Budget) -> str:
    caps = [f"${budget.usd:g}"] if budget.usd is not None else []
    caps += [f"{budget.calls} calls"] if budget.calls is not None else []
    return " and ".join(caps) or "no cap"
