"""A line of progress, on a terminal or in a notebook."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from optimizer.formatting import counted, dollars, percent, seconds
from pipelines.gateway.budget import Budget, Spend

if TYPE_CHECKING:
    from tqdm.std import tqdm

    from pipelines.gateway.gateway import Session

REFRESH_S = 1.0
"""Between two refreshes of the line during a trial."""
_FORMAT = "{bar:12} {desc}{postfix}"


class Progress:
    """Stage, trials, best so far, spend against the caps, and the time left.

    It shows on a terminal (stderr) and in a notebook, and is silent elsewhere. The bar is the share
    of the budget that is used; a search often ends before that.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._trials = 0
        self._best: float | None = None

    def __enter__(self) -> Self:
        self._bar: tqdm[Any] = _bar()
        self.stage("starting")
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # the terminal may be gone
            self._bar.close()

    @contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Within it, the line is refreshed every second."""
        if self._bar.disable:
            yield
            return
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(REFRESH_S):
                self.refresh(session.spent, session.seconds)

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._bar.set_description_str(name)

    def update(self, best: float | None, spend: Spend, elapsed_s: float) -> None:
        """A trial ended; all is as of now, and `best` the best mean score, in [0, 1]."""
        self._trials += 1
        self._best = best
        self.refresh(spend, elapsed_s)

    def refresh(self, spend: Spend, elapsed_s: float) -> None:
        """More was spent; the arguments are those of `update`."""
        best, used, calls = self._best, self.used(spend, elapsed_s), self._budget.calls
        left = self.seconds_left(used, elapsed_s)
        parts = [  # a narrow terminal cuts the end off
            f"best {percent(best)}" if best is not None and best == best else "",
            _of(dollars(spend.usd), self._budget.usd and dollars(self._budget.usd)),
            seconds(elapsed_s) if left is None else f"at most {seconds(left)} left",
            _of(f"{spend.calls:,}", calls and f"{calls:,}") + " calls",
            counted(self._trials, "trial"),
        ]
        self._bar.n = used
        self._bar.set_postfix_str(", ".join(filter(None, parts)))

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


def _of(value: str, cap: str | float | None) -> str:
    return f"{value} of {cap}" if cap else value


def _bar() -> tqdm[Any]:
    """A widget in a notebook that has them, a line on a terminal or plain notebook, or nothing."""
    from tqdm.std import tqdm

    ipython = sys.modules.get("IPython")  # imported by a notebook's kernel, but not only there
    shell = ipython.get_ipython() if ipython is not None else None
    notebook = shell is not None and "IPKernelApp" in shell.config
    if not notebook and (sys.stderr is None or not sys.stderr.isatty()):  # None in a service
        return tqdm(disable=True)
    if notebook and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm_notebook

        return tqdm_notebook(total=1.0, bar_format=_FORMAT, leave=False)
    width, height = shutil.get_terminal_size((100, 24))  # of size 0, tqdm would show nothing
    return tqdm(
        total=1.0, bar_format=_FORMAT, leave=False, file=sys.stderr, ncols=width, nrows=height
    )
