from __future__ import annotations

import io
import sys
import threading
import time
from typing import Any, cast

import pytest

import optimizer.progress
from evaluators.statistics import Interval
from optimizer.progress import Progress
from pipelines.gateway.budget import Budget, PurposeSpend, Spend
from pipelines.gateway.storage.store import StoreError

BEST, BASELINE = Interval(0.415, 0.301, 0.543), Interval(0.25, 0.16, 0.36)
SPEND = Spend({"task": PurposeSpend(usd=0.5, calls=300)})


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_shows_stage_best_spend_and_time_left_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "130")
    with Progress(Budget(usd=2, calls=400, seconds=600)) as progress:
        progress.stage("allocation", 2)
        progress.update(BEST, BASELINE, SPEND, 60.0)
    shown = terminal.getvalue().split("\r")
    line = next(part for part in reversed(shown) if "allocation" in part)
    shown_scores = "allocation, turn 2, best 41.5% [30.1, 54.3] vs 25.0%"
    for message in ("1 trial", shown_scores, "$0.500 of $2.00", "300 of 400 calls", "20 s left"):
        assert message in line
    assert shown[-1].strip() == ""


def test_elsewhere_it_writes_a_line_when_there_is_news(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(Budget(usd=2)) as progress:
        progress.stage("allocation", 1)
        progress.update(BASELINE, BASELINE, SPEND, 3.0)
        now += 3
        progress.update(BEST, BASELINE, SPEND, 6.0)
        assert capsys.readouterr().err == "", "the last line is too near"
        now += 3
        progress.refresh(SPEND, 9.0)
        progress.refresh(SPEND, 9.0)
        now += 30
        progress.refresh(SPEND, 39.0)  # nothing happened
    assert capsys.readouterr().err == (
        "allocation, turn 1: best 41.5% [30.1, 54.3] vs 25.0%, $0.500 of $2.00, "
        "at most 27 s left, 300 calls, 2 trials\n"
    )


def test_short_searches_are_silent_where_nobody_watches(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Progress(Budget()) as progress:
        progress.stage("baseline")
        progress.update(None, None, SPEND, 1.0)
    assert capfd.readouterr() == ("", "")


def test_share_of_the_budget_is_that_of_the_nearest_cap() -> None:
    assert Progress(Budget(usd=2, calls=400, seconds=600)).used(SPEND, 60.0) == 0.75
    assert Progress(Budget(seconds=100)).used(SPEND, 250.0) == 1.0
    assert Progress(Budget()).used(SPEND, 60.0) == 0.0


def test_without_stderr_it_keeps_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(Budget()) as progress:
        progress.update(BEST, BASELINE, SPEND, 60.0)
    assert capsys.readouterr().out == ""


def test_time_left_is_the_shorter_of_clock_and_pace() -> None:
    capped = Progress(Budget(seconds=600))
    assert capped.seconds_left(0.75, 60.0) == 20.0
    assert capped.seconds_left(0.0, 60.0) == 540.0
    assert Progress(Budget()).seconds_left(0.0, 60.0) is None


def test_the_line_follows_what_is_spent_while_a_trial_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Session:
        seconds = 60.0

        @property
        def spent(self) -> Spend:
            asked.append(len(asked))
            if len(asked) == 1:
                raise StoreError("the cache 'calls.db' can't be read: database is locked")
            return Spend({"task": PurposeSpend(usd=0.5, calls=100 + len(asked))})

    asked: list[int] = []
    terminal, session = _Terminal(), cast(Any, Session())
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(optimizer.progress, "REFRESH_S", 0.01)
    monkeypatch.setenv("COLUMNS", "200")  # a narrow terminal would cut the end off
    with Progress(Budget(calls=4000)) as progress, progress.following(session):
        progress.update(BEST, BASELINE, SPEND, 60.0)
        ends = time.monotonic() + 60
        while len(asked) < 3:
            assert time.monotonic() < ends
            time.sleep(0.01)
    after = len(asked)
    assert "102 of 4,000 c" in terminal.getvalue()
    assert not any(thread.name == "progress" for thread in threading.enumerate())
    assert len(asked) == after
