"""The account of one study: its real spend, and the reservations of its calls in flight."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pipelines.gateway.budget import Budget, PurposeSpend, Spend, picodollars
from pipelines.gateway.call import BudgetExhausted, LMCall, LMReply
from pipelines.gateway.concurrency import LOOK_S
from pipelines.gateway.concurrency.health import Health
from pipelines.gateway.storage.store import Caps, Claim, Settlement

if TYPE_CHECKING:
    from pipelines.gateway.gateway import Gateway
    from pipelines.gateway.workers import Workers


class Protected(NamedTuple):
    """What is kept out of reach."""

    usd: float = 0.0
    calls: int = 0
    seconds: float = 0.0


class Account:
    """Real money: reservations before calls, settlements after them, under caps."""

    def __init__(self, gateway: Gateway, study: str, budget: Budget) -> None:
        self.gateway = gateway
        self.study = study
        self.budget = budget
        self.protected = Protected()
        self.health = Health(gateway.timeout_s, gateway.outage_s)
        self.workers: Workers | None = None
        """Who sends its requests to servers; None for this process."""
        self.batches = False
        """Whether calls may be batched: where hours and their latencies don't matter."""
        self._store = gateway.store
        self._started = time.monotonic()
        self._sending = 0
        self._stopped = threading.Event()

    @property
    def spent(self) -> Spend:
        """Real spend: what was paid, in this process and in all others of the same study."""
        return self._store.spent(self.study)

    @property
    def seconds(self) -> float:
        """Seconds since the account was opened."""
        return time.monotonic() - self._started

    async def reserve(
        self, worst_usd: Mapping[str, float], purpose: str, what: str, check: Callable[[], None]
    ) -> bool:
        """Reserve the worst cost of all these calls, by their keys, or of none.

        False if every one of them turns out to be answered, or to be in a batch; of several, those
        that are answered are left out. It waits while other calls in flight may still leave room;
        what `check` raises ends the wait.

        Raises:
            BudgetExhausted: there is no room for them; `what` names them.
        """
        while True:
            check()
            claim = self._store.claim(worst_usd, self.study, purpose, self._caps())
            if claim is Claim.NO_ROOM:
                raise BudgetExhausted(self._no_room(what, worst_usd.values()))
            if claim in (Claim.GRANTED, Claim.ANSWERED, Claim.IN_BATCH):
                return claim is Claim.GRANTED
            await asyncio.sleep(LOOK_S)

    def settle(self, call: LMCall, reply: LMReply | None, *, billed: bool = False) -> None:
        """Turn a reservation into what the call cost.

        Without a reply that is the whole reservation if it may have been `billed`, and nothing if
        the provider refused it.
        """
        cost = reply.cost if reply else None if billed else PurposeSpend(calls=1)
        self._store.settle(Settlement(call.key, self.study, call.purpose, cost, reply))

    def settle_cut_off(self, call: LMCall, written: PurposeSpend) -> None:
        """Turn a reservation into what a call had written when it was cut off."""
        cost = replace(written, calls=1)
        self._store.settle(Settlement(call.key, self.study, call.purpose, cost))

    def release(self, call: LMCall) -> None:
        """Give a reservation back: the call was never sent."""
        self._store.settle(Settlement(call.key, "", "", PurposeSpend()))

    def stop(self) -> None:
        """Refuse every further call: new and waiting ones raise `BudgetExhausted`.

        Only those go on that a provider is answering just now; their replies are kept. Races
        end, and their calls are cut off.
        """
        self._stopped.set()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Around a request, until it is settled."""
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1

    @property
    def in_flight(self) -> int:
        """How many calls of this process a provider is answering just now."""
        return self._sending

    def drain(self) -> None:
        """Wait until no call is in flight; after `stop` no further one comes."""
        while self._sending:
            time.sleep(LOOK_S)

    def check_not_stopped(self) -> None:
        """Raise `BudgetExhausted` if stopped."""
        if self._stopped.is_set():
            raise BudgetExhausted("the run was stopped")

    def check_running(self) -> None:
        """Raise `BudgetExhausted` if stopped, or if the seconds that are not protected are over."""
        self.check_not_stopped()
        if self.seconds_left <= 0:
            seconds = self.protected.seconds
            kept = f" but for {seconds:.1f} kept back" if seconds else ""
            raise BudgetExhausted(f"the budget of {self.budget.seconds:g} seconds is used up{kept}")

    @property
    def seconds_left(self) -> float:
        """Infinite without a cap."""
        cap = math.inf if self.budget.seconds is None else self.budget.seconds
        return cap - self.protected.seconds - self.seconds

    def _caps(self) -> Caps:
        budget, kept = self.budget, self.protected
        return Caps(
            None if budget.usd is None else picodollars(budget.usd - kept.usd),
            None if budget.calls is None else budget.calls - kept.calls,
        )

    def _no_room(self, what: str, worst_usd: Collection[float]) -> str:
        spent, budget, (usd, calls, _) = self.spent, self.budget, self.protected
        over = budget.calls is not None and spent.calls + len(worst_usd) > budget.calls - calls
        if over or budget.usd is None:  # a call that was in flight may have been settled since
            kept = f", and {calls} are kept back" if calls else ""
            return (
                f"no room for {what}: {spent.calls} calls are spent of {budget.calls} calls{kept}"
            )
        kept = f", and ${usd:.4f} are kept back" if usd else ""
        worst = math.fsum(worst_usd)
        return f"{what} may cost ${worst:.6f}; ${spent.usd:.6f} are spent of ${budget.usd:g}{kept}"
