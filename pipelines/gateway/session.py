"""One study's account at a gateway: replies to its calls, and what they cost."""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.gateway.budget import Budget, PurposeSpend, RunningSpend, Spend, total
from pipelines.gateway.call import BudgetExhausted, CallFailed, CallRace, LMCall, LMReply
from pipelines.gateway.concurrency.event_loop import run
from pipelines.gateway.execution.account import Account, Protected
from pipelines.gateway.execution.call_life import CallLife
from pipelines.gateway.execution.race import race, race_key

if TYPE_CHECKING:
    from pipelines.gateway.gateway import Gateway
    from pipelines.gateway.storage.store import Parsed


class Left(NamedTuple):
    """What may still be spent; infinite without a cap."""

    usd: float
    calls: float


class Session(Account):
    """One study's account at a gateway, and the calls that it pays for. Safe for threads."""

    def __init__(self, gateway: Gateway, study: str, budget: Budget) -> None:
        super().__init__(gateway, study, budget)
        self._seen: set[str] = set()
        self._nominal = RunningSpend()
        self.tried = PurposeSpend()
        """The cost of the calls of `try_once` that were answered by its end, at recorded prices."""
        self.tries: set[asyncio.Future[CallFailed | None]] = set()
        """Calls of `try_once` under way: the event loop itself holds tasks weakly."""
        self._tasks: set[asyncio.Task[Any]] = set()
        """Calls of `complete` under way."""
        self._lock = threading.Lock()

    def complete(self, call: LMCall) -> LMReply:
        """The model's reply: from the cache, or from a call that the budget has room for.

        Raises:
            CallFailed: no answer, after all retries.
            BudgetExhausted: the call could break a cap, or the session was stopped.
        """
        self.check_not_stopped()
        life = CallLife(self, call)
        reply = life.recorded()
        if reply is None:
            life.look_up_price()
            reply = run(self._noted(life.run()))
        self._count(call.key, call.purpose, reply.cost)
        return reply

    def parsed(self, key: str) -> Parsed | None:
        """Outputs that were kept under the key; their reply counts as that of `complete`.

        Raises:
            BudgetExhausted: the session was stopped.
        """
        self.check_not_stopped()
        known = self._store.parsed(key, batched=self.batches)
        if known is not None:
            self._count(known.call, "task", known.reply.cost)
        return known

    def keep_parsed(self, key: str, call: str, outputs: Mapping[str, Any]) -> None:
        """Keep what was read from the reply to the call of this key; see `Store.keep_parsed`."""
        self._store.keep_parsed(key, call, outputs)

    def first_of(
        self,
        calls: Sequence[LMCall],
        count: int = 1,
        on_first: Callable[[int], object] | None = None,
    ) -> CallRace:
        """The replies of the `count` calls that finish first; the others are cut off.

        The calls differ in model or sample index and share one purpose. All are reserved before any
        starts, but for those that wait for an equal call in flight or for a provider. Replies that
        are there at once, such as cached ones, take part with the latencies that they report. The
        same race again is answered from the cache, even if others would be faster now. `on_first`,
        which must not block, is called with the place of the first to finish as soon as that is
        known, unless the race is recorded or held by another session.

        Raises:
            ValueError: fewer calls than `count`, two equal ones, or two purposes.
            CallFailed: so many calls failed that fewer than `count` are left; the first failure.
            BudgetExhausted: the calls could break a cap, or the session was stopped.
        """
        key = race_key(calls, count)
        self.check_not_stopped()
        result = race(self, key, calls, count, on_first)
        self._count(key, calls[0].purpose, result.cost)
        return result

    def try_once(self, calls: Sequence[LMCall], seconds: float) -> list[CallFailed | None]:
        """The failures of calls that are made once each, all at the same time, without retries.

        None for a call that is answered, also from the cache; that needs no server, and is not
        made; that the budget has no room for; or that takes longer than `seconds`, and goes on.
        They count as real spend but not as nominal: a search takes the same path without them.
        """
        made = [call for call in calls if self.gateway.provider(call.model).connects]
        failures = run(self._tried_at_once(made, seconds)) if made else []
        replies = (self._store.reply(call.key) for call in made)
        self.tried = total([self.tried, *(reply.cost for reply in replies if reply is not None)])
        by_key = dict(zip((call.key for call in made), failures, strict=True))
        return [by_key.get(call.key) for call in calls]

    def reply_text(self, key: str) -> str | None:
        """The text of the reply that is recorded for the call of this key; None without one."""
        reply = self._store.reply(key, batched=self.batches)
        return None if reply is None else reply.text

    @property
    def nominal(self) -> Spend:
        """Nominal spend: every distinct call and race of this session once, at recorded prices.

        It does not depend on what the cache held, nor on the order of concurrent calls.
        """
        with self._lock:
            return self._nominal.spend

    def nominal_left(self) -> Left:
        """What nominal spend and first calls leave of the caps, less what is protected."""
        usd, calls, _ = self.protected
        budget, nominal, tried = self.budget, self.nominal, self.tried
        return Left(
            math.inf if budget.usd is None else budget.usd - usd - nominal.usd - tried.usd,
            math.inf
            if budget.calls is None
            else budget.calls - calls - nominal.calls - tried.calls,
        )

    def first_seconds(self, key: str, seconds: float) -> float:
        """The seconds that were recorded when this study did some work first, else these.

        A study that is repeated must not depend on how fast the machine is this time.
        """
        hashed = hashlib.sha256(key.encode()).hexdigest()
        return self._store.first_seconds(self.study, hashed, seconds)

    def protect(self, usd: float = 0.0, calls: int = 0, seconds: float = 0.0) -> None:
        """Keep that much of the budget out of reach, until `protect()` releases it again."""
        self.protected = Protected(usd, calls, seconds)

    @property
    def set_aside(self) -> Mapping[str, str]:
        """Models that are not asked any more, by label, and why."""
        return self.health.set_aside

    def cancel(self) -> None:
        """As `stop`, and cut off the calls that are in flight, which are charged their worst cost.

        `asyncio.CancelledError` is raised where these were asked for.
        """
        self.stop()
        for task in list(self._tasks):
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _noted(self, call: Coroutine[Any, Any, LMReply]) -> LMReply:
        """The reply to the call, which `cancel` can cut off meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await call
        finally:
            self._tasks.discard(task)

    async def _tried_at_once(
        self, calls: Sequence[LMCall], seconds: float
    ) -> list[CallFailed | None]:
        tasks = [asyncio.ensure_future(self._failure(call)) for call in calls]
        self.tries.update(tasks)
        for task in tasks:
            task.add_done_callback(self.tries.discard)
        # the others go on, also after ctrl-C: cut off, they would be charged their worst cost
        done, _ = await asyncio.wait(tasks, timeout=seconds)
        return [task.result() if task in done else None for task in tasks]

    async def _failure(self, call: LMCall) -> CallFailed | None:
        """The failure, returned: asyncio logs what is raised in a task that nobody awaits."""
        try:
            await CallLife(self, call).once()
        except CallFailed as failure:
            return failure
        except BudgetExhausted:
            pass
        return None

    def _count(self, key: str, purpose: str, cost: PurposeSpend) -> None:
        """Count it as nominal spend, once."""
        with self._lock:
            if key not in self._seen:
                self._seen.add(key)
                self._nominal.add(purpose, cost)
