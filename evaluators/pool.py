"""A thread pool for runs that pause: no thread waits for a step of another run."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipelines.gateway.call import BudgetExhausted
from pipelines.programs.concurrency import Resumable

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Raised:
    """A run ended with an error."""

    error: BaseException


def run_pool(runs: Sequence[Resumable[R]], concurrency: int) -> list[R | Raised]:
    """The results or errors of the runs, in their order.

    At most `concurrency` of them work at the same time. A run without work ends in the caller's
    thread. After any error but `BudgetExhausted` no further run begins or goes on. Ctrl-C is the
    error of those that have not ended by then.
    """
    return _Pool(runs, concurrency).results()


def first_error(ended: Sequence[R | Raised]) -> BaseException | None:
    """The first error; ctrl-C before any other, and `BudgetExhausted` only if there is no other."""
    errors = [result.error for result in ended if isinstance(result, Raised)]
    return min(errors, key=_urgency, default=None)


def _urgency(error: BaseException) -> int:
    return 0 if isinstance(error, KeyboardInterrupt) else 1 + isinstance(error, BudgetExhausted)


class _Pool(Generic[R]):
    def __init__(self, runs: Sequence[Resumable[R]], concurrency: int) -> None:
        self._runs = runs
        self._ended: dict[int, R | Raised] = {}
        self._threads: list[threading.Thread] = []
        self._most_threads = min(concurrency, len(runs))
        self._fresh: deque[int] = deque()
        """Runs that have done no work yet."""
        self._coming = len(runs)
        """Runs that have not reached their first work."""
        self._begun: list[tuple[int, int]] = []
        """A heap of runs that can go on, by their number of pauses."""
        self._pauses = [0] * len(runs)
        self._broken = False
        self._changed = threading.Condition()

    def results(self) -> list[R | Raised]:
        not_run = Raised(BudgetExhausted("not begun: another task broke"))
        try:
            for place in range(len(self._runs)):
                self._admit(place)
            for thread in self._threads:
                thread.join()
        except BaseException as interrupt:  # ctrl-C: threads end after their call in flight
            not_run = Raised(interrupt)
            with self._changed:
                self._broken = True
                self._changed.notify_all()
        return [self._ended.get(place, not_run) for place in range(len(self._runs))]

    def _admit(self, place: int) -> None:
        """Advance a run to its first work."""
        can_go_on = not self._broken and self._advance(place)
        with self._changed:
            self._coming -= 1
            if can_go_on:
                self._fresh.append(place)
                self._changed.notify()
        if can_go_on and len(self._threads) < self._most_threads:
            # daemons: an interrupt need not wait for calls that may take minutes
            thread = threading.Thread(target=self._work, daemon=True, name="evaluation")
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (place := self._next()) is not None:
            while self._advance(place) and self._goes_on(place):
                pass

    def _advance(self, place: int) -> bool:
        """Advance a run to its next pause; returns whether it can continue right away."""
        try:
            pause = next(self._runs[place])
        except StopIteration as end:
            self._end(place, end.value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._end(place, Raised(error))
        else:
            if pause is None:
                return True
            pause.add_done_callback(lambda _: self._resume(place))
        return False

    def _end(self, place: int, result: R | Raised) -> None:
        with self._changed:
            self._ended[place] = result
            if isinstance(result, Raised) and not isinstance(result.error, BudgetExhausted):
                self._broken = True
            if self._broken or len(self._ended) == len(self._runs):
                self._changed.notify_all()

    def _resume(self, place: int) -> None:
        with self._changed:
            heapq.heappush(self._begun, (self._pauses[place], place))
            self._changed.notify()

    def _goes_on(self, place: int) -> bool:
        """Whether the thread stays with this run, rather than look for another.

        Begun runs are finished first, so that few are half done when the budget ends. Only the last
        ones go step by step, those with the fewest steps first, so that all threads stay busy.
        """
        self._pauses[place] += 1
        with self._changed:
            if self._fresh_first:
                heapq.heappush(self._begun, (self._pauses[place], place))
                return False
            return not self._broken

    @property
    def _fresh_first(self) -> bool:
        return self._coming + len(self._fresh) <= self._most_threads

    def _next(self) -> int | None:
        """Wait for a run that can continue; None if there will be none."""
        with self._changed:
            while not self._broken and len(self._ended) < len(self._runs):
                if self._fresh and (self._fresh_first or not self._begun):
                    return self._fresh.popleft()
                if self._begun:
                    return heapq.heappop(self._begun)[1]
                self._changed.wait()
        return None
