"""What DSPy says of our runs is not said, and all that others say beside them is."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy.teleprompt import bootstrap

from pipelines.adapters.dspy_programs.quiet import quiet

SPEAKING = ("dspy.teleprompt.bootstrap", "dspy.predict.refine", "dspy.utils.parallelizer",
            "gepa.core.engine")  # fmt: skip


@pytest.fixture
def inside() -> Iterator[None]:
    """Another thread is within `quiet`."""
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with quiet("dspy"):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait(60)
    yield
    leave.set()
    thread.join()


def speak() -> None:
    """As DSPy does: a line, a bar, a record."""
    bootstrap_few = dspy.BootstrapFewShot(metric=lambda *_: 1.0, max_bootstrapped_demos=1)
    with dspy.context(lm=dspy.utils.DummyLM([{"answer": "x"}] * 4)):
        rows = [dspy.Example(question="q", answer="x").with_inputs("question")]
        bootstrap_few.compile(dspy.Predict("question -> answer"), trainset=rows)
    logging.getLogger("dspy.teleprompt.mipro_optimizer_v2").warning("a record")


def test_within_it_dspy_says_nothing_but_to_the_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with quiet("dspy"), caplog.at_level(logging.DEBUG, "pipelines"):
        speak()
    assert capfd.readouterr() == ("", "")
    assert "Bootstrapped 1 full traces" in caplog.text
    assert "a record" not in caplog.text


@pytest.mark.usefixtures("inside")
def test_other_threads_print_log_and_draw_their_bars(capfd: pytest.CaptureFixture[str]) -> None:
    print("a user's own line")
    speak()
    out, err = capfd.readouterr()
    assert "a user's own line" in out
    assert "Bootstrapped 1 full traces" in out
    assert "100%" in err
    assert "a record" in err


def test_nothing_of_the_process_is_replaced_and_the_modules_get_back_what_they_had() -> None:
    def of_the_process() -> list[Any]:
        level = logging.getLogger("dspy").level
        return [sys.stdout, sys.stderr, level, list(warnings.filters)]

    modules = {name: dict(vars(sys.modules[name])) for name in SPEAKING}
    filters = list(logging.getLogger("dspy").handlers[0].filters)
    before = of_the_process()
    first, second = quiet("dspy"), quiet()
    first.__enter__()
    second.__enter__()
    assert of_the_process() == before
    first.__exit__(None, None, None)
    assert "print" in vars(bootstrap), "one is still inside"
    second.__exit__(None, None, None)
    assert of_the_process() == before
    assert {name: dict(vars(sys.modules[name])) for name in SPEAKING} == modules
    assert logging.getLogger("dspy").handlers[0].filters == filters


def test_it_works_where_there_is_no_terminal_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw, and in services."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with quiet("dspy"):
        speak()
    assert sys.stdout is None, "nothing was put in its place"
    assert sys.stderr is None
