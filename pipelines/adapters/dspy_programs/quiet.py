"""DSPy's warnings, which a search would print thousands of times."""

from __future__ import annotations

import logging
import sys
from typing import Any

import dspy

from pipelines.adapters.dspy_programs.run import Run

_REPEATED = ("dspy.predict.", "dspy.primitives.", "dspy.utils.parallelizer")
"""Loggers of what happens in every run. What fails there is in the run's trace."""
_PRINTING = ("dspy.predict.best_of_n", "dspy.predict.refine")
"""Modules that print every attempt that fails."""


def quieten() -> None:
    """Keep what DSPy's modules say within our runs off the terminal; elsewhere they say it."""
    for handler in logging.getLogger("dspy").handlers:
        handler.addFilter(_is_said_elsewhere)
    for name in _PRINTING:
        vars(sys.modules[name])["print"] = _print_elsewhere


def _is_said_elsewhere(record: logging.LogRecord) -> bool:
    return not (_in_run() and record.name.startswith(_REPEATED))


def _print_elsewhere(*told: Any, **how: Any) -> None:
    if not _in_run():
        print(*told, **how)


def _in_run() -> bool:
    return any(isinstance(each, Run) for each in dspy.settings.callbacks)
