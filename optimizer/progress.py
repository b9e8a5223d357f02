"""The progress of a search: one line on a terminal, and occasional lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from evaluators.statistics import Interval
from optimizer.formatting import counted, dollars, percent, percent_interval, seconds
from pipelines.gateway.budget import Budget, Spend
from pipelines.gateway.storage.store import StoreError

if TYPE_CHECKING:
    from tqdm.std import tqdm

    from pipelines.gateway.gateway import Session

REFRESH_S = 1.0
"""Seconds between two refreshes of the line during a trial."""
LINES_S = 5.0
"""The fewest seconds between two lines where they are not overwritten."""
_FORMAT = "{bar:12} {desc}{postfix}"


class Progress:
    """Stage, turn, best so far against the baseline, spend against the caps, and the time left.

    On a terminal (stderr) it is one line with a bar, the share of the budget that is used; a search
    often ends before that. Elsewhere, as in a notebook or a file, it is a line on stderr every few
    seconds in which something happened.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._stage = "starting"
        self._trials = 0
        self._best: Interval | None = None
        self._baseline: Interval | None = None
        self._bar: tqdm[Any] | None = None
        self._news = False
        self._written = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bar = _bar() if sys.stderr is not None and sys.stderr.isatty() else None
        self.stage("starting")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be gone
                self._bar.close()

    @contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Within it, the display is refreshed every second."""
        if sys.stderr is None:  # as in a service
            yield
            return
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(REFRESH_S):
                with suppress(StoreError):  # the search itself reports it, if it lasts
                    self.refresh(session.spent, session.seconds)

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def stage(self, name: str, turn: int = 0) -> None:
        """Note that a stage begins, in a turn of the loop; 0 is before the first."""
        self._stage = f"{name}, turn {turn}" if turn else name
        self._news = True
        if self._bar is not None:
            self._bar.set_description_str(self._stage)

    def update(
        self, best: Interval | None, baseline: Interval | None, spend: Spend, elapsed_s: float
    ) -> None:
        """Note that a trial ended.

        Args:
            best, baseline: their scores in [0, 1] so far, on the search examples.
            spend, elapsed_s: of the search so far.
        """
        self._trials += 1
        self._best, self._baseline = best, baseline
        self._news = True
        self.refresh(spend, elapsed_s)

    def refresh(self, spend: Spend, elapsed_s: float) -> None:
        """Show what was spent so far; the arguments are those of `update`."""
        used = self.used(spend, elapsed_s)
        text = ", ".join(filter(None, self._parts(spend, elapsed_s, used)))
        if self._bar is not None:
            self._bar.n = used
            self._bar.set_postfix_str(text)
            return
        with self._lock:
            now = time.monotonic()
            if self._news and now - self._written >= LINES_S:
                self._news, self._written = False, now
                with suppress(OSError, ValueError):  # the file may be full or closed
                    print(f"{self._stage}: {text}", file=sys.stderr, flush=True)

    def _parts(self, spend: Spend, elapsed_s: float, used: float) -> list[str]:
        """The texts beside the stage; a narrow terminal cuts off the last ones."""
        calls, left = self._budget.calls, self.seconds_left(used, elapsed_s)
        return [
            _scores(self._best, self._baseline),
            _of(dollars(spend.usd), self._budget.usd and dollars(self._budget.usd)),
            seconds(elapsed_s) if left is None else f"at most {seconds(left)} left",
            _of(f"{spend.calls:,}", calls and f"{calls:,}") + " calls",
            counted(self._trials, "trial"),
        ]

    def used(self, spend: Spend, elapsed_s: float) -> float:
        """The largest share of a cap that is used, at most 1; 0 without caps."""
        caps = (
            (spend.usd, self._budget.usd),
            (spend.calls, self._budget.calls),
            (elapsed_s, self._budget.seconds),
        )
        return min(1.0, max((float(value) / cap for value, cap in caps if cap), default=0.0))

    def seconds_left(self, used: float, elapsed_s: float) -> float | None:
        """Seconds until the budget ends at the pace so far; None if unknown."""
        limit = self._budget.seconds
        by_clock = [max(0.0, limit - elapsed_s)] if limit is not None else []
        by_pace = [elapsed_s * (1 - used) / used] if used > 0.02 else []
        return min(by_clock + by_pace, default=None)


def _scores(best: Interval | None, baseline: Interval | None) -> str:
    if best is None or baseline is None:
        return ""
    shown = f"best {percent(best.mean)} {percent_interval(best)}"
    return shown if best == baseline else f"{shown} vs {percent(baseline.mean)}"


def _of(value: str, cap: str | float | None) -> str:
    return f"{value} of {cap}" if cap else value


def _bar() -> tqdm[Any]:
    from tqdm.std import tqdm

    width, height = shutil.get_terminal_size((100, 24))  # of size 0, tqdm would show nothing
    return tqdm(
        total=1.0, bar_format=_FORMAT, leave=False, file=sys.stderr, ncols=width, nrows=height
    )
