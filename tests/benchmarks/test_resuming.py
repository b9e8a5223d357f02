from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.resuming import FinishedRuns, Goal, tell_goals


class Squared(NamedTuple):
    number: int


@pytest.fixture
def made() -> list[int]:
    return []


@pytest.fixture
def square(made: list[int]) -> Callable[[Squared], dict[str, Any]]:
    def make(run: Squared) -> dict[str, Any]:
        made.append(run.number)
        return {"square": run.number**2}

    return make


def test_finished_runs_are_not_made_again(
    tmp_path: Path, made: list[int], square: Callable[[Squared], dict[str, Any]]
) -> None:
    path = tmp_path / "runs.jsonl"
    FinishedRuns(path, ()).of([Squared(2), Squared(3)], square)
    found = FinishedRuns(path, ()).of([Squared(3), Squared(4), Squared(2)], square)
    assert made == [2, 3, 4]
    assert found["square"].tolist() == [9, 16, 4]


def test_a_line_cut_short_by_a_kill_is_made_again(
    tmp_path: Path, made: list[int], square: Callable[[Squared], dict[str, Any]]
) -> None:
    path = tmp_path / "runs.jsonl"
    FinishedRuns(path, ()).of([Squared(2), Squared(3)], square)
    path.write_text(path.read_text()[:-5])
    found = FinishedRuns(path, ()).of([Squared(2), Squared(3)], square)
    assert made == [2, 3, 3]
    assert found["square"].tolist() == [4, 9]


def test_runs_by_other_code_are_not_reused(
    tmp_path: Path, made: list[int], square: Callable[[Squared], dict[str, Any]]
) -> None:
    path = tmp_path / "runs.jsonl"
    FinishedRuns(path, ()).of([Squared(2)], square)
    FinishedRuns(path, ("benchmarks/resuming.py",)).of([Squared(2)], square)
    assert made == [2, 2]


def test_runs_of_two_kinds_share_a_file(
    tmp_path: Path, square: Callable[[Squared], dict[str, Any]]
) -> None:
    class Cubed(NamedTuple):
        base: int

    finished = FinishedRuns(tmp_path / "runs.jsonl", ())
    finished.of([Squared(2)], square)
    assert finished.of([Cubed(2)], lambda run: {"cube": run.base**3})["cube"].tolist() == [8]
    assert finished.of([Squared(2)], square)["square"].tolist() == [4]


def test_a_missed_goal_stands_out(capsys: pytest.CaptureFixture[str]) -> None:
    tell_goals([Goal("reached", "1", "2", True), Goal("missed", "3", "2", False)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[-1].strip() for line in lines[1:]] == ["met", "yes", "NO"]
