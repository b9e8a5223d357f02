"""One line that says how the search goes; silent where nobody watches."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from optimizer.formatting import counted, dollars, percent, seconds
from pipelines.llms.budget import Budget, Spend

if TYPE_CHECKING:
    from tqdm.std import tqdm

    from pipelines.llms.gateway import Session

REFRESH_S = 1.0
"""How often the line is written anew while a trial goes on."""
_FORMAT = "{bar:12} {desc}{postfix}"


class Progress:
    """Stage, trials, best so far, what is spent of the caps, and the time left.

    It shows on a terminal (stderr) and in a notebook, and keeps quiet elsewhere. The bar is the
    share of the budget that is used; a search often ends before that.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bar: tqdm[Any] | None = None
        self._stage = "starting"
        self._trials = 0
        self._best: float | None = None
        self._shown = ""

    def __enter__(self) -> Self:
        self._bar = _bar()
        self._show()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Within it the line is as of the last second; a trial may take long."""
        if self._bar is None:
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
        """What is being done now."""
        self._stage = name
        self._show()

    def update(self, best: float | None, spend: Spend, elapsed_s: float) -> None:
        """A trial ended.

        Args:
            best: the best mean score so far, in [0, 1].
            spend: what was spent so far.
            elapsed_s: seconds since the run began.
        """
        self._trials += 1
        self._best = best
        self.refresh(spend, elapsed_s)

    def refresh(self, spend: Spend, elapsed_s: float) -> None:
        """More was spent; the arguments are those of `update`."""
        best = self._best
        used = self.used(spend, elapsed_s)
        left = self.seconds_left(used, elapsed_s)
        calls = self._budget.calls
        told = [  # a narrow terminal cuts the end off
            f"best {percent(best)}" if best is not None and best == best else "",
            _of(dollars(spend.usd), self._budget.usd and dollars(self._budget.usd)),
            seconds(elapsed_s) if left is None else f"at most {seconds(left)} left",
            _of(f"{spend.calls:,}", calls and f"{calls:,}") + " calls",
            counted(self._trials, "trial"),
        ]
        self._shown = ", ".join(filter(None, told))
        if self._bar is not None:
            self._bar.n = used
        self._show()

    def used(self, spend: Spend, elapsed_s: float) -> float:
        """The share of the budget that is used, by the cap that is nearest; 0 without caps."""
        caps = (
            (spend.usd, self._budget.usd),
            (spend.calls, self._budget.calls),
            (elapsed_s, self._budget.seconds),
        )
        return min(1.0, max((float(value) / cap for value, cap in caps if cap), default=0.0))

    def seconds_left(self, used: float, elapsed_s: float) -> float | None:
        """Seconds until the budget ends at the pace so far; None if that can't be said."""
        limit = self._budget.seconds
        by_clock = max(0.0, limit - elapsed_s) if limit is not None else None
        by_pace = elapsed_s * (1 - used) / used if used > 0.02 else None
        known = [value for value in (by_clock, by_pace) if value is not None]
        return min(known) if known else None

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.set_description_str(self._stage, refresh=False)
            self._bar.set_postfix_str(self._shown, refresh=True)


def _of(value: str, cap: str | float | None) -> str:
    return f"{value} of {cap}" if cap else value


def _bar() -> tqdm[Any] | None:
    """A widget in a notebook that has them, a line on a terminal or plain notebook, or nothing."""
    notebook = _in_notebook()
    if not notebook and (sys.stderr is None or not sys.stderr.isatty()):  # None in a service
        return None
    if notebook and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm_notebook

        return tqdm_notebook(total=1.0, bar_format=_FORMAT, leave=False)
    from tqdm.std import tqdm

    width, height = shutil.get_terminal_size((100, 24))  # of size 0, tqdm would show nothing
    return tqdm(
        total=1.0, bar_format=_FORMAT, leave=False, file=sys.stderr, ncols=width, nrows=height
    )


def _in_notebook() -> bool:
    """Whether this process is a notebook's kernel; ipykernel merely imported is not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
