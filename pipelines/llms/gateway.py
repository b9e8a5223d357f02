"""The one door to language models: cache, single flight, budget, rate limits, retries, ledger."""

from __future__ import annotations

import functools
import math
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipelines.llms.budget import Budget, PurposeSpend, Spend, picodollars
from pipelines.llms.call import BudgetExhausted, CallFailed, LMCall, LMReply
from pipelines.llms.limits import Limit, ProviderGate
from pipelines.llms.store import Caps, Claim, Store

_POLL_S = 0.02
"""How often to look whether another process has settled the call that we wait for."""
_MOST_BACKOFF_S = 60.0


def default_cache_folder() -> Path:
    """`COMPOUND_OPTIMIZER_CACHE`, else `compound-optimizer` in the user's cache folder."""
    chosen = os.environ.get("COMPOUND_OPTIMIZER_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "compound-optimizer"


class Left(NamedTuple):
    """What may still be spent; infinite without a cap."""

    usd: float
    calls: float


class Gateway:
    """How calls are made: where replies are kept, what providers allow, how often to retry.

    `limits` gives a `Limit` by provider (the part of a model's name before the slash, or its
    `api_base`). A transient failure is retried up to `retries` times, first after about
    `backoff_s` seconds, then after twice that, and so on, or when `Retry-After` says.
    """

    def __init__(
        self,
        cache: str | Path | None = "",
        *,
        limits: Mapping[str, Limit] | None = None,
        retries: int = 5,
        backoff_s: float = 0.5,
        timeout_s: float = 120.0,
    ) -> None:
        """`cache` is a folder, by default the user's; None keeps replies in memory only.

        Raises:
            StoreError: the folder can't be written.
        """
        folder = default_cache_folder() if cache == "" else Path(cache) if cache else None
        self.store = Store(folder)
        self.retries = retries
        self.timeout_s = timeout_s
        self._backoff_s = backoff_s
        self._limits = dict(limits or {})
        self._gates: dict[str, ProviderGate] = {}
        self._flights: dict[str, _Flight] = {}
        self._lock = threading.Lock()

    def session(self, study: str = "", budget: Budget | None = None) -> Session:
        """Open the account of one study; what it spent in earlier processes still counts."""
        self.store.settle_orphans(study)
        return Session(self, study, budget or Budget())

    def gate(self, provider: str) -> ProviderGate:
        """The gate that all calls to this provider share."""
        with self._lock:
            if provider not in self._gates:
                self._gates[provider] = ProviderGate(self._limits.get(provider, Limit()))
            return self._gates[provider]

    def backoff(self, attempt: int, failure: CallFailed) -> float:
        """Seconds to wait before the next attempt: what the provider asks, else exponential."""
        if failure.retry_after is not None:
            return min(failure.retry_after, _MOST_BACKOFF_S)
        most = self._backoff_s * 2.0**attempt
        return min(most * random.uniform(0.5, 1.0), _MOST_BACKOFF_S)

    def join(self, key: str) -> tuple[_Flight, bool]:
        """The flight that makes this call, and whether it is the caller's to make."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            self._flights[key] = flight = _Flight()
            return flight, True

    def land(self, key: str, flight: _Flight) -> None:
        """The call is over: let those go on who wait for it."""
        with self._lock:
            del self._flights[key]
        flight.landed.set()

    def close(self) -> None:
        """Close the store."""
        self.store.close()


class Session:
    """One study's account at a gateway. Safe for threads."""

    def __init__(self, gateway: Gateway, study: str, budget: Budget) -> None:
        self.gateway = gateway
        self.study = study
        self.budget = budget
        self.is_cached_only = False
        self._started = time.monotonic()
        self._protected = (0.0, 0, 0.0)
        self._seen: dict[str, tuple[str, PurposeSpend]] = {}
        self._lock = threading.Lock()
        self._settled = threading.Condition()
        self._stopped = threading.Event()

    def complete(self, call: LMCall) -> LMReply:
        """The model's reply: from the cache, or from a call that the budget has room for.

        Raises:
            CallFailed: no answer, after all retries.
            BudgetExhausted: the call could break a cap.
        """
        if self.is_cached_only and call.key not in self._seen:
            raise BudgetExhausted(f"this call to {call.model.label} was not made before")
        reply = self.gateway.store.reply(call.key)
        while reply is None:
            flight, mine = self.gateway.join(call.key)
            reply = self._fly(call, flight) if mine else self._wait_for(call, flight)
        with self._lock:
            if call.key not in self._seen:
                self._seen[call.key] = (call.purpose, _as_spend(reply))
        return reply

    @property
    def spent(self) -> Spend:
        """Real spend: what was paid, in this process and in earlier ones of the same study."""
        return self.gateway.store.spent(self.study)

    @property
    def nominal(self) -> Spend:
        """Nominal spend: every distinct call of this session once, at its recorded price.

        It does not depend on what the cache held, nor on the order of concurrent calls.
        """
        with self._lock:
            seen = list(self._seen.values())
        purposes = sorted({purpose for purpose, _ in seen})
        return Spend({p: _total([spend for q, spend in seen if p == q]) for p in purposes})

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
        cache holds from other runs must not decide anything.
        """
        before, self.is_cached_only = self.is_cached_only, True
        try:
            yield
        finally:
            self.is_cached_only = before

    def stop(self) -> None:
        """Refuse every further call: whoever waits gets `BudgetExhausted`."""
        self._stopped.set()

    def _fly(self, call: LMCall, flight: _Flight) -> LMReply:
        try:
            # another thread may have landed between the look into the cache and the join
            return self.gateway.store.reply(call.key) or self._pay_for(call)
        except CallFailed as failure:
            flight.failure = failure
            raise
        finally:
            self.gateway.land(call.key, flight)

    def _wait_for(self, call: LMCall, flight: _Flight) -> LMReply | None:
        """The reply that another thread got; None if it got none for a reason of its own."""
        flight.landed.wait()
        if flight.failure is not None:
            raise flight.failure
        return self.gateway.store.reply(call.key)

    def _pay_for(self, call: LMCall) -> LMReply:
        from pipelines.llms.prices import price_of
        from pipelines.llms.transport import send

        price = price_of(call.model)
        gate = self.gateway.gate(call.model.provider)
        for attempt in range(self.gateway.retries + 1):
            recorded = self._reserve(call, price.worst_usd(call))
            if recorded is not None:
                return recorded
            try:
                with gate.passage():
                    reply = send(call, price, self.gateway.timeout_s)
            except CallFailed as failure:
                self._settle(call, None, billed=failure.billed)
                failure.attempts = attempt + 1
                if not failure.retryable or attempt == self.gateway.retries:
                    raise
                self._wait_to_retry(gate, self.gateway.backoff(attempt, failure), failure)
            except BaseException:
                self._settle(call, None, billed=True)  # cut off: the provider may have answered
                raise
            else:
                self._settle(call, reply)
                return reply
        raise AssertionError("the last attempt returns or raises")

    def _reserve(self, call: LMCall, worst_usd: float) -> LMReply | None:
        """Claim the call; the reply, if another process turns out to have made it."""
        store = self.gateway.store
        while True:
            self._check_time()
            caps = self._caps()
            claim = store.claim(call.key, self.study, call.purpose, worst_usd, caps)
            if claim is Claim.GRANTED:
                return None
            if claim is Claim.ANSWERED:
                return store.reply(call.key)
            if claim is Claim.NO_ROOM:
                raise BudgetExhausted(self._no_room(call, worst_usd))
            with self._settled:
                self._settled.wait(_POLL_S)

    def _settle(self, call: LMCall, reply: LMReply | None, *, billed: bool = False) -> None:
        self.gateway.store.settle(call.key, self.study, call.purpose, reply, billed=billed)
        with self._settled:
            self._settled.notify_all()

    def _caps(self) -> Caps:
        usd, calls, _ = self._protected
        budget = self.budget
        return Caps(
            None if budget.usd is None else picodollars(budget.usd - usd),
            None if budget.calls is None else budget.calls - calls,
        )

    def _check_time(self) -> None:
        limit = self.budget.seconds
        if self._stopped.is_set():
            raise BudgetExhausted("the run was stopped")
        if limit is not None and self.seconds > limit - self._protected[2]:
            raise BudgetExhausted(f"the budget of {limit:g} seconds is used up")

    def _no_room(self, call: LMCall, worst_usd: float) -> str:
        spent, (usd, calls, _) = self.spent, self._protected
        kept = f", of which ${usd:.4f} and {calls} calls are kept back" if usd or calls else ""
        return (
            f"a call to {call.model.label} may cost ${worst_usd:.6f}; ${spent.usd:.6f} and "
            f"{spent.calls} calls are spent of {_caps_text(self.budget)}{kept}"
        )

    def _wait_to_retry(self, gate: ProviderGate, seconds: float, failure: CallFailed) -> None:
        if failure.kind == "rate_limited":
            gate.pause(seconds)
        if self._stopped.wait(seconds):
            raise BudgetExhausted("the run was stopped")


@functools.cache
def default_gateway() -> Gateway:
    """The gateway of pipelines that are called without one; opened at the first call."""
    return Gateway()


def default_session() -> Session:
    """An account without caps at the default gateway."""
    return default_gateway().session("calls")


@dataclass
class _Flight:
    """A call that one thread makes and others wait for."""

    landed: threading.Event = field(default_factory=threading.Event)
    failure: CallFailed | None = None


def _as_spend(reply: LMReply) -> PurposeSpend:
    return PurposeSpend(reply.usd, 1, reply.input_tokens, reply.output_tokens)


def _total(spends: list[PurposeSpend]) -> PurposeSpend:
    """The sum; exactly rounded, so that it does not depend on the order."""
    return PurposeSpend(
        usd=math.fsum(spend.usd for spend in spends),
        calls=len(spends),
        input_tokens=sum(spend.input_tokens for spend in spends),
        output_tokens=sum(spend.output_tokens for spend in spends),
    )


def _caps_text(budget: Budget) -> str:
    caps = [f"${budget.usd:g}"] if budget.usd is not None else []
    caps += [f"{budget.calls} calls"] if budget.calls is not None else []
    return " and ".join(caps) or "no cap"
