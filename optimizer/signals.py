"""Turns signals that ask the process to end into an interrupt that a search can handle."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_ENDING = ("SIGTERM", "SIGHUP")  # the second is unknown to Windows


class EndedBySignal(KeyboardInterrupt):
    """Another signal than ctrl-C's asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP raise `EndedBySignal`, where ctrl-C raises its base class.

    Only in the main thread, which alone gets signals, and only for signals that nobody else handles
    or ignores, as `nohup` does.
    """
    taken = []
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
        taken = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, _interrupt)
        yield
    finally:
        for number in taken:
            if signal.getsignal(number) is _interrupt:
                signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise EndedBySignal(number)
