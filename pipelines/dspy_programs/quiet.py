"""DSPy's warnings, which a search would print thousands of times."""

from __future__ import annotations

import logging

import dspy

from pipelines.dspy_programs.run import Run

_REPEATED = ("dspy.predict.", "dspy.primitives.", "dspy.utils.parallelizer")
"""Loggers of what happens in every run. What fails there is in the run's trace."""


def quieten() -> None:
    """Keep what DSPy's modules say within our runs off the terminal; elsewhere they say it."""
    for handler in logging.getLogger("dspy").handlers:
        handler.addFilter(_is_said_elsewhere)


def _is_said_elsewhere(record: logging.LogRecord) -> bool:
    in_run = any(isinstance(each, Run) for each in dspy.settings.callbacks)
    return not (in_run and record.name.startswith(_REPEATED))
