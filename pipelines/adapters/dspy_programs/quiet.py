"""Silences what DSPy prints and logs thousands of times in a search.

Nothing process-wide is changed (`sys.stdout`, logger levels, warning filters). During a run,
`print` and `tqdm` are replaced in DSPy's modules by functions that are silent only in the run's
threads; the user's own programs in other threads print as before.
"""

from __future__ import annotations

import builtins
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import dspy
from tqdm.std import tqdm

logger = logging.getLogger(__name__)

IN_RUNS = ("dspy.predict.", "dspy.primitives.", "dspy.utils.parallelizer")
"""Loggers of events that every run has; failures are in the run's trace."""

_KEY = "silent_loggers"
"""In DSPy's settings, which its threads inherit."""
_LOCK = threading.Lock()
_UNDO = ExitStack()
_inside = 0
"""How many threads are within `quiet`; the last one to leave restores everything."""


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Within it DSPy's modules print nothing, and loggers whose names begin so log nothing. It
    holds for this thread, and for those that DSPy starts from it."""
    global _inside
    with _LOCK:
        _inside += 1
        if _inside == 1:
            _silence(_UNDO)
    try:
        with dspy.context(**{_KEY: loggers}):
            yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                _UNDO.close()


def _silence(undo: ExitStack) -> None:
    for handler in (*logging.getLogger().handlers, *logging.getLogger("dspy").handlers):
        handler.addFilter(_is_logged)
        undo.callback(handler.removeFilter, _is_logged)
    bars = SimpleNamespace(tqdm=_Bar)
    printing: dict[str, dict[str, Any]] = {
        "dspy.predict.best_of_n": {"print": _print},
        "dspy.predict.refine": {"print": _print},
        "dspy.teleprompt.bootstrap": {"print": _print, "tqdm": bars},
        "dspy.teleprompt.utils": {"print": _print},
        "dspy.utils.inspect_history": {"print": _print},
        "dspy.utils.parallelizer": {"tqdm": bars},
        "gepa.core.engine": {"tqdm": _Bar},
    }
    for module, names in printing.items():
        if module in sys.modules:
            undo.enter_context(patch.multiple(sys.modules[module], create=True, **names))


def _is_logged(record: logging.LogRecord) -> bool:
    return not record.name.startswith(dspy.settings.get(_KEY) or ())


def _print(*words: Any, **how: Any) -> None:
    if dspy.settings.get(_KEY) is None:
        builtins.print(*words, **how)
    else:
        logger.debug("%s", " ".join(map(str, words)))


class _Bar(tqdm):  # type: ignore[type-arg]
    """A `tqdm` that is disabled within `quiet`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        if dspy.settings.get(_KEY) is not None:
            options["disable"] = True
        super().__init__(*args, **options)
