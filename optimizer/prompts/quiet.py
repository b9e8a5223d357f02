"""Nothing that DSPy's optimizers print may go over our progress."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

logger = logging.getLogger(__name__)

_TALKATIVE = ("dspy", "gepa", "optuna")


@contextmanager
def quiet() -> Iterator[None]:
    """Within it what is printed goes to the log, at level DEBUG, and DSPy logs errors only."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    said = _Logged()
    try:
        with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


class _Logged(io.TextIOBase):
    """A text stream whose lines are log records."""

    def write(self, text: str) -> int:
        if text.strip():
            logger.debug("%s", text.rstrip())
        return len(text)
