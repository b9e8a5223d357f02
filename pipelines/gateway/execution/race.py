"""Several calls at once: the first to finish count, the others are cancelled.

docs/gateway.md, "Races", tells who wins and what the others cost; docs/decisions/015, why.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pipelines.gateway.budget import PurposeSpend, total
from pipelines.gateway.call import BudgetExhausted, CallFailed, CallRace, LMCall, LMReply
from pipelines.gateway.concurrency import LOOK_S
from pipelines.gateway.concurrency.event_loop import run
from pipelines.gateway.execution.account import Account
from pipelines.gateway.execution.call_life import CallLife

Tasks: TypeAlias = Sequence["asyncio.Task[LMReply]"]


def race_key(calls: Sequence[LMCall], count: int) -> str:
    """SHA-256 over what is raced for and the keys of the calls, in their order.

    Raises:
        ValueError: fewer calls than `count`, two equal ones, or two purposes.
    """
    if not 1 <= count <= len(calls):
        raise ValueError(
            f"1 <= count <= calls must hold, but got count={count!r} of {len(calls)} calls"
        )
    keys = [call.key for call in calls]
    if len(set(keys)) < len(keys):
        raise ValueError("the calls of a race must differ in model or sample index; two are equal")
    purposes = sorted({call.purpose for call in calls})
    if len(purposes) > 1:
        raise ValueError(f"the calls of a race must share one purpose, but got {purposes}")
    return hashlib.sha256(json.dumps(["first_of", count, keys]).encode()).hexdigest()


def race(
    account: Account,
    key: str,
    calls: Sequence[LMCall],
    count: int,
    on_first: Callable[[int], object] | None = None,
) -> CallRace:
    """The race's outcome: recorded, from the task or process that holds it, or held here."""
    store, flights = account.gateway.store, account.gateway.flights

    async def hold() -> CallRace:
        while not store.claim_race(key):  # another process holds it, or has just recorded it
            if (recorded := store.race(key)) is not None:
                return recorded
            account.check_running()
            await asyncio.sleep(LOOK_S)
        try:
            outcome, refund = await held.run()
            store.keep_race(key, outcome, account.study, calls[0].purpose, refund)
            return outcome
        except BaseException:
            store.release_race(key)
            raise

    if (recorded := store.race(key)) is not None:
        return recorded
    held = _Race(account, calls, count, on_first)
    for entrant in held.entrants:
        if entrant.recorded() is None:
            entrant.look_up_price()
    return run(flights.once(key, lambda: store.race(key), hold, account.check_not_stopped))


class _Race:
    """A race of ordinary calls, which wait for each other between reservation and start."""

    def __init__(
        self,
        account: Account,
        calls: Sequence[LMCall],
        count: int,
        on_first: Callable[[int], object] | None,
    ) -> None:
        self.account = account
        self.count = count
        self.on_first = on_first
        self.entrants = [_Entrant(self, call) for call in calls]
        self.at_line: list[_Entrant] = []
        self.started = asyncio.Event()
        self.won: list[tuple[LMCall, LMReply]] = []

    async def run(self) -> tuple[CallRace, PurposeSpend]:
        """The outcome, and what was settled for losers beyond that. All calls have ended then."""
        tasks = [asyncio.create_task(entrant.run()) for entrant in self.entrants]
        try:
            await asyncio.sleep(0)  # each comes to the line, or waits, or has ended
            await self._start(tasks)
            at_once, winners = await self._winners(tasks)
            self.won = [(self.entrants[place].call, tasks[place].result()) for place in winners]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for entrant in self.entrants:
                if entrant.is_reserved:
                    self.account.release(entrant.call)
        replies = tuple(reply for _, reply in self.won)
        end_s = max(reply.latency_s for reply in replies)
        lost, refunds = [PurposeSpend()] * len(tasks), []
        for place, (entrant, reply) in enumerate(
            zip(self.entrants, map(_reply, tasks), strict=True)
        ):
            if place in winners:
                continue
            lost[place] = entrant.lost if reply is None else reply.cost
            if reply is not None and place in at_once:
                lost[place] = loss = entrant.written_until(end_s, reply)
                if not reply.cached:
                    unwritten = reply.output_tokens - loss.output_tokens
                    refunds.append(PurposeSpend(reply.usd - loss.usd, 0, 0, unwritten))
        return CallRace(winners, replies, tuple(lost)), total(refunds)

    async def _start(self, tasks: Tasks) -> None:
        """Reserve all calls at the line together, and let them go."""
        self._check_enough_are_left(tasks)
        if starting := tuple(self.at_line):
            worst = {each.call.key: each.price.worst_usd(each.call) for each in starting}
            labels = ", ".join(dict.fromkeys(each.call.model.label for each in starting))
            what = f"{len(starting)} calls at once to {labels}"
            purpose, check = starting[0].call.purpose, self.account.check_running
            await self.account.reserve(worst, purpose, what, check)
            for each in starting:
                each.is_reserved = True
        self.started.set()

    async def _winners(self, tasks: Tasks) -> tuple[set[int], tuple[int, ...]]:
        """The calls that replied at once, and the winners, once they can't be overtaken.

        Raises:
            CallFailed: fewer than `count` are left.
            BudgetExhausted: likewise, for want of budget; or the run was stopped.
        """
        start = time.monotonic()
        await asyncio.sleep(0)  # calls that wait for nothing reply
        at_once = {place for place, task in enumerate(tasks) if _reply(task)}
        finished_s: dict[int, float] = {}
        while True:
            elapsed_s = time.monotonic() - start
            for place, reply in enumerate(map(_reply, tasks)):
                if reply is not None and place not in finished_s:
                    came_s = 0.0 if place in at_once else elapsed_s
                    finished_s[place] = max(came_s, reply.latency_s)
            order = sorted(finished_s, key=lambda place: (finished_s[place], place))
            running = [task for task in tasks if not task.done()]
            if running:
                order = [place for place in order if finished_s[place] <= elapsed_s]
            if order and self.on_first:
                self.on_first(order[0])
                self.on_first = None
            if len(order) >= self.count:
                return at_once, tuple(order[: self.count])
            self._check_enough_are_left(tasks)
            self.account.check_running()
            await asyncio.wait(running, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)

    def _check_enough_are_left(self, tasks: Tasks) -> None:
        failures = [error for task in tasks if task.done() and (error := task.exception())]
        graver = [failure for failure in failures if not isinstance(failure, CallFailed)]
        for failure in graver:
            if not isinstance(failure, BudgetExhausted):
                raise failure
        if len(tasks) - len(failures) < self.count:
            raise (graver or failures)[0]


class _Entrant(CallLife):
    """One call of a race."""

    def __init__(self, race: _Race, call: LMCall) -> None:
        super().__init__(race.account, call)
        self.race = race
        self.is_reserved = False

    @property
    def batched(self) -> bool:
        """Never: latencies decide the race."""
        return False

    async def reserve(self) -> bool:
        """Together with all others at the start; later attempts as any call."""
        if not self.race.started.is_set():
            _ = self.price  # without one it fails here
            self.race.at_line.append(self)
            await self.race.started.wait()
        if not self.is_reserved:
            return await super().reserve()
        self.is_reserved = False
        return self.recorded() is None

    def cost_if_cancelled(self) -> PurposeSpend:
        """What a winner of the same model wrote in that time; else the most that it can cost."""
        if not self._bills_cancelled:
            for call, reply in reversed(self.race.won):
                if (call.model, call.messages) == (self.call.model, self.call.messages):
                    return reply.cost
        return super().cost_if_cancelled()

    def written_until(self, end_s: float, reply: LMReply) -> PurposeSpend:
        """What a reply that took no time, and so was not cancelled, would have cost if it was."""
        if self._bills_cancelled or reply.latency_s <= end_s:
            return reply.cost
        written = round(reply.output_tokens * end_s / reply.latency_s)
        inputs = reply.input_tokens * self.price.input_usd
        whole = inputs + reply.output_tokens * self.price.output_usd
        part = (inputs + written * self.price.output_usd) / whole if whole else 0.0
        return PurposeSpend(reply.usd * part, 1, reply.input_tokens, written)

    @property
    def _bills_cancelled(self) -> bool:
        return self.account.gateway.limit(self.call.model.provider).bills_cancelled


def _reply(task: asyncio.Task[LMReply]) -> LMReply | None:
    """The task's result, if it has one."""
    done = task.done() and not task.cancelled() and task.exception() is None
    return task.result() if done else None
