"""Several calls at once: the first to finish count, the others are cut off.

docs/gateway.md, "Races", tells who wins and what the others cost.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence

from pipelines.gateway.account import Account
from pipelines.gateway.budget import PurposeSpend
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall, LMReply
from pipelines.gateway.call_life import CallLife
from pipelines.gateway.flights import Flight
from pipelines.gateway.races.call_race import CallRace, cost_of, total
from pipelines.gateway.races.cut_off import CutOff

_LOOK_S = 0.05
"""How often a race looks whether it was stopped, and whether a recorded reply is due."""


def race(account: Account, key: str, calls: Sequence[LMCall], count: int) -> CallRace:
    """The race's outcome: recorded, from who holds it just now, or from holding it."""
    store, flights = account.gateway.store, account.gateway.flights

    def hold() -> CallRace:
        while not store.claim_race(key):  # another process holds it, or has just recorded it
            if (recorded := store.race(key)) is not None:
                return recorded
            account.check_running()
            time.sleep(_LOOK_S)
        try:
            held = HeldRace(account, calls, count)
            outcome = held.run()
            store.keep_race(key, outcome, account.study, calls[0].purpose, held.refund)
            return outcome
        except BaseException:
            store.release_race(key)
            raise

    return flights.once(key, lambda: store.race(key), hold, account.check_not_stopped)


class HeldRace:
    """A race that this thread holds, each of its calls in a thread of its own."""

    def __init__(self, account: Account, calls: Sequence[LMCall], count: int) -> None:
        self.account = account
        self.count = count
        self.cut = CutOff()
        self.moved = threading.Condition()
        self.started = 0.0
        self.winners: list[Replica] = []
        self.replicas = [Replica(self, call) for call in calls]

    def run(self) -> CallRace:
        """Hold it, and end all of its calls before returning, however it ends."""
        try:
            self._start()
            self._watch()
        finally:
            self.cut.now()
            for replica in self.replicas:
                replica.end()
        return CallRace(
            tuple(map(self.replicas.index, self.winners)),
            tuple(winner.answered for winner in self.winners),
            tuple(
                PurposeSpend() if replica in self.winners else replica.loss_at(self._cut_s)
                for replica in self.replicas
            ),
        )

    @property
    def refund(self) -> PurposeSpend:
        """What was settled for losers beyond what they had written when virtually cut off."""
        return total(replica.refund_at(self._cut_s) for replica in self._losers)

    def _start(self) -> None:
        """Reserve all calls that are not recorded, then start them together.

        Those of unknown price have failed and are left out.
        """
        absent = [each for each in self.replicas if not each.is_recorded() and each.has_price()]
        self._check_enough_are_left()
        mine = [replica for replica in absent if replica.join()]
        if mine:
            worst = {replica.call.key: replica.price.worst_usd(replica.call) for replica in mine}
            what = f"{len(mine)} calls at once to {_labels(mine)}"
            self.account.reserve(worst, mine[0].call.purpose, what, self.account.check_running)
        self.started = time.monotonic()
        for replica in absent:
            replica.thread.start()

    def _watch(self) -> None:
        """Wait until there are winners.

        Raises:
            CallFailed: fewer than `count` are left.
            BudgetExhausted: likewise, for want of budget; or the run was stopped.
        """
        with self.moved:
            while not (winners := self._ahead()):
                self._check_enough_are_left()
                self.account.check_running()
                self.moved.wait(_LOOK_S)
        self.winners = winners

    def _ahead(self) -> list[Replica]:
        """The winners, once nobody can pass them any more; till then nobody."""
        done = [replica for replica in self.replicas if replica.reply is not None]
        done.sort(key=lambda replica: replica.finished_s)
        if any(replica.is_running for replica in self.replicas):
            if any(replica.answered.latency_declared for replica in done):
                return []  # who would have come first shows when all are there
            elapsed = time.monotonic() - self.started
            done = [replica for replica in done if replica.finished_s <= elapsed]
        return done[: self.count] if len(done) >= self.count else []

    def _check_enough_are_left(self) -> None:
        failures = [replica.failure for replica in self.replicas if replica.failure is not None]
        graver = [failure for failure in failures if not isinstance(failure, CallFailed)]
        for failure in graver:
            if not isinstance(failure, BudgetExhausted):
                raise failure
        if len(self.replicas) - len(failures) < self.count:
            raise (graver or failures)[0]

    @property
    def _losers(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica not in self.winners]

    @property
    def _cut_s(self) -> float:
        """The moment at which the others were cut off, or would have been."""
        return max(winner.answered.latency_s for winner in self.winners)


class Replica(CallLife):
    """One call of a race, which may be cut off."""

    def __init__(self, held: HeldRace, call: LMCall) -> None:
        super().__init__(held.account, call)
        self.held, self.cut = held, held.cut
        self.reply: LMReply | None = None
        self.failure: BaseException | None = None
        self.finished_s = math.inf
        """Seconds after the start; by what the provider declares or the cache recorded, if so."""
        self.thread = threading.Thread(target=self._live, name="replica", daemon=True)
        self._flight: Flight | None = None
        self._is_reserved = False
        self._unseen = PurposeSpend()

    @property
    def is_running(self) -> bool:
        """Whether it may still reply."""
        return self.reply is None and self.failure is None

    @property
    def answered(self) -> LMReply:
        """Its reply, which is there."""
        assert self.reply is not None
        return self.reply

    def is_recorded(self) -> bool:
        """Take the reply from the cache, if it is there."""
        reply = self.recorded()
        if reply is not None:
            self._finish(reply)
        return reply is not None

    def has_price(self) -> bool:
        """Whether it is known what it may cost; else it has failed."""
        try:
            return bool(self.price)
        except CallFailed as failure:
            self.failure = failure
            return False

    def join(self) -> bool:
        """Whether the call is this race's to make, and so to reserve before the start."""
        flight, mine = self._flights.join(self.call.key)
        if mine:
            self._flight, self._is_reserved = flight, True
        return mine

    def end(self) -> None:
        """Wait until it has ended; if it never started, leave the call to others."""
        if self.thread.ident is not None:
            self.thread.join()
        elif self._flight is not None:
            self.account.settle(self.call, None, billed=True)
            self._flights.land(self.call.key)

    def check_waiting(self) -> None:
        """As for any call, or because it was cut off."""
        self.cut.check()
        super().check_waiting()

    def check(self) -> None:
        """As for any call, or because it was cut off."""
        self.cut.check()
        super().check()

    def wait(self, seconds: float) -> None:
        """Wait before a retry, or until it is cut off."""
        self.cut.wait(seconds)

    def reserve(self) -> bool:
        """As for any call, but for the first attempt, which the race has reserved."""
        if not self._is_reserved:
            return super().reserve()
        self._is_reserved = False
        return True

    def settle_cut_off(self) -> None:
        """Settle at what it may have written: nobody saw it."""
        self._unseen = self._most_written()
        self.account.settle_cut_off(self.call, self._unseen)

    def loss_at(self, cut_s: float) -> PurposeSpend:
        """What it had written when it was cut off, after so many seconds."""
        reply = self.reply
        if reply is None:
            return self._unseen
        if self._bills_cancelled or not _is_virtual(reply) or reply.latency_s <= cut_s:
            return cost_of(reply)
        written = round(reply.output_tokens * cut_s / reply.latency_s)
        return PurposeSpend(self._usd_until(written, reply), 1, reply.input_tokens, written)

    def refund_at(self, cut_s: float) -> PurposeSpend:
        """What it was settled at beyond that, if this race has paid for it."""
        if self.reply is None or self.reply.cached:
            return PurposeSpend()
        loss, reply = self.loss_at(cut_s), self.reply
        return PurposeSpend(reply.usd - loss.usd, 0, 0, reply.output_tokens - loss.output_tokens)

    @property
    def _bills_cancelled(self) -> bool:
        return self.account.gateway.limit(self.call.model.provider).bills_cancelled

    def _live(self) -> None:
        try:
            reply = self._by_flight()
        except BaseException as failure:
            with self.held.moved:
                self.failure = failure
                self.held.moved.notify_all()
        else:
            self._finish(reply)

    def _by_flight(self) -> LMReply:
        if self._flight is None:
            return self.run()
        return self._flights.fly(self.call.key, self._flight, self.recorded, self.pay)

    def _finish(self, reply: LMReply) -> None:
        elapsed = time.monotonic() - self.held.started
        with self.held.moved:
            self.finished_s = reply.latency_s if _is_virtual(reply) else elapsed
            self.reply = reply
            self.held.moved.notify_all()

    def _most_written(self) -> PurposeSpend:
        """What a winner of the same model wrote in that time; else the most that it can cost."""
        call = self.call
        if not self._bills_cancelled:
            for winner in reversed(self.held.winners):
                if (winner.call.model, winner.call.messages) == (call.model, call.messages):
                    return cost_of(winner.answered)
        worst_usd = self.price.worst_usd(call)
        return PurposeSpend(worst_usd, 1, call.most_input_tokens, call.model.max_tokens)

    def _usd_until(self, written: int, reply: LMReply) -> float:
        """The part of the reply's cost that goes on the input and the tokens written till then."""
        inputs = reply.input_tokens * self.price.input_usd
        whole = inputs + reply.output_tokens * self.price.output_usd
        return reply.usd * (inputs + written * self.price.output_usd) / whole if whole else 0.0


def _is_virtual(reply: LMReply) -> bool:
    """Whether it came at once, and tells how long it would have taken."""
    return reply.latency_declared or reply.cached


def _labels(replicas: Iterable[Replica]) -> str:
    return ", ".join(dict.fromkeys(replica.call.model.label for replica in replicas))
