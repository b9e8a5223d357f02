from __future__ import annotations

import logging
from pathlib import Path

import pytest

from optimizer.tracking.events import Event, end_event, event
from optimizer.tracking.journal import Journal, leftovers

STORE = "http://127.0.0.1:5000"


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "unlogged"


def _filled(parent: Path, *, ended: bool = True) -> Journal:
    journal = Journal.create(parent, STORE)
    for step in range(3):
        journal.append(event("figures", step=step))
    if ended:
        journal.append(end_event("FINISHED", None))
    return journal


def _settle(journal: Journal) -> Event:
    first = journal.first
    assert first is not None
    journal.logged(first)
    return first


def _steps(journal: Journal) -> list[tuple[str, int]]:
    events: list[tuple[str, int]] = []
    while journal.first is not None:
        settled = _settle(journal)
        events.append((settled.kind, settled.step))
    return events


def test_what_was_not_logged_is_there_for_the_next_process_in_order(parent: Path) -> None:
    journal = _filled(parent)
    journal.run = {"run_id": "r", "experiment_id": "e"}
    _settle(journal)
    journal.close()
    (left,) = leftovers(parent, STORE)
    assert left.run == {"run_id": "r", "experiment_id": "e"}
    assert _steps(left) == [("figures", 1), ("figures", 2), ("end", 0)]


def test_nothing_stays_once_everything_is_logged(parent: Path) -> None:
    journal = _filled(parent)
    _steps(journal)
    journal.close()
    assert list(parent.iterdir()) == []


def test_a_journal_in_use_is_left_alone(parent: Path) -> None:
    journal = _filled(parent)
    assert list(leftovers(parent, STORE)) == []
    journal.close()
    assert len(list(leftovers(parent, STORE))) == 1


def test_a_journal_for_another_store_is_left_alone(parent: Path) -> None:
    _filled(parent).close()
    assert list(leftovers(parent, "http://127.0.0.1:6000")) == []
    assert len(list(leftovers(parent, STORE))) == 1


def test_a_run_whose_process_died_ends_as_killed(parent: Path) -> None:
    _filled(parent, ended=False).close()
    (left,) = leftovers(parent, STORE)
    *_, last = left._pending
    assert (last.kind, last.status) == ("end", "KILLED")
    assert last.tags == {"stopped": "its process ended before the run did"}


@pytest.mark.parametrize("cut", range(2, 60, 7))
def test_a_line_that_a_kill_cut_short_is_dropped_alone(parent: Path, cut: int) -> None:
    journal = _filled(parent, ended=False)
    journal.close()
    path = journal.folder / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    (left,) = leftovers(parent, STORE)
    left.close()
    (again,) = leftovers(parent, STORE)
    assert _steps(again) == [("figures", 0), ("figures", 1), ("end", 0)]


def test_ids_are_unique_also_after_a_resume(parent: Path) -> None:
    _filled(parent, ended=False).close()
    (left,) = leftovers(parent, STORE)
    left.append(event("figures", step=9))
    ids = [each.id for each in left._pending]
    assert len(ids) == len(set(ids)) == 5


def test_a_folder_that_can_not_be_written_is_said_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "unlogged").write_text("a file stands here")
    with caplog.at_level(logging.WARNING):
        journal = _filled(tmp_path / "unlogged")
    assert not journal.kept
    assert len(journal) == 4
    assert "won't be kept" in caplog.text
    journal.close()
    assert not journal.folder.exists()


def test_a_journal_that_another_version_wrote_is_set_aside_alone(
    parent: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strange, good = _filled(parent), _filled(parent)
    with (strange.folder / "events.jsonl").open("a") as file:
        file.write('{"kind": "trial", "colour": "blue"}\n')
    strange.close()
    good.close()
    assert [left.folder for left in leftovers(parent, STORE)] == [good.folder]
    assert "can't be read" in caplog.text
    assert (strange.folder / "events.jsonl.unreadable").exists()
