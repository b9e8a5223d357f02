"""Context variable for the listener of provisional outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Listener = Callable[[str, Mapping[str, Any], float], None]
"""Takes the module's path, all of its output fields, and the agreement. Called in any thread."""

_LISTENER: ContextVar[Listener | None] = ContextVar("_LISTENER", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within it, provisional outcomes of the modules that run in this context go to `listener`."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def current_listener() -> Listener | None:
    """The listener of this context, if there is one."""
    return _LISTENER.get()
