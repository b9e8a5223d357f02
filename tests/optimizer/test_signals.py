"""Signals that end a search like ctrl-C; a real search is ended in `cli/test_command_line.py`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from optimizer.signals import EndedBySignal, signals_interrupt


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_they_interrupt_and_are_as_before_afterwards(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt) as interrupt, signals_interrupt():
        signal.raise_signal(number)
    assert isinstance(interrupt.value, EndedBySignal)
    assert interrupt.value.number == number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_what_the_program_itself_handles_or_ignores_stays() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, print)
    with signals_interrupt():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is print
    assert signal.getsignal(signal.SIGTERM) is print


def test_other_threads_leave_them_alone() -> None:
    seen = []

    def run() -> None:
        with signals_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
