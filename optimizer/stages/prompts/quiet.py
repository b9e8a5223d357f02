"""Keeps what DSPy's optimizers print away from the progress line."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

from optimizer.quiet_logs import log_level

logger = logging.getLogger(__name__)

_LOCK = threading.Lock()
_INSIDE = ExitStack(), [0]
"""What to undo in the end, and how many searches are inside: they may run side by side."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, prints go to the log at level DEBUG, and DSPy logs nothing.

    It holds for the whole process, from the first search that enters until the last one leaves.
    """
    undo, inside = _INSIDE
    with _LOCK:
        inside[0] += 1
        if inside[0] == 1:
            _silence(undo)
    try:
        yield
    finally:
        with _LOCK:
            inside[0] -= 1
            if inside[0] == 0:
                undo.close()


def _silence(undo: ExitStack) -> None:
    undo.enter_context(log_level(logging.CRITICAL, "dspy", "gepa", "optuna"))
    log = _Logged()
    undo.enter_context(redirect_stdout(log))
    undo.enter_context(redirect_stderr(log))
    undo.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")


class _Logged(io.TextIOBase):
    """A text stream whose lines are log records."""

    def write(self, text: str) -> int:
        if text.strip():
            logger.debug("%s", text.rstrip())
        return len(text)
