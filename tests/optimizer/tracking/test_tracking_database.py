"""MLflow's SQLite database is whole or not there, whoever is killed and however many create it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from optimizer.tracking import Tracker, database
from optimizer.tracking.database import ensure_database, is_unfinished
from tests.launching import REPOSITORY, wait_until

CREATE = """
import sys
from pathlib import Path
from optimizer.tracking.database import ensure_database
from optimizer.tracking.tracker import import_mlflow

import_mlflow()
print("ready", flush=True)
sys.stdin.readline()
ensure_database(Path(sys.argv[1]), ours=True)
"""


def creating(path: Path) -> subprocess.Popen[str]:
    """A process that begins to create the database when it is told."""
    process = subprocess.Popen(
        [sys.executable, "-c", CREATE, str(path)], cwd=REPOSITORY, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def tables(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def half_created(ready: Path, path: Path) -> None:
    """As MLflow leaves it when it is killed: some tables, and nothing in them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(ready)) as whole, closing(sqlite3.connect(path)) as part:
        query = "SELECT sql FROM sqlite_master WHERE name IN ('experiments', 'runs', 'metrics')"
        for (sql,) in whole.execute(query):
            part.execute(sql)
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))


def test_a_kill_at_any_moment_leaves_nothing_in_its_way(tmp_path: Path) -> None:
    """Early, amid the migrations, and late; then two at once create it, and both go on."""
    path = tmp_path / "mlruns" / "mlflow.db"
    draft = path.with_name("mlflow.db.new")
    for least in (1, 20, 60):
        process = creating(path)
        begin(process)
        wait_until(lambda least=least: draft.exists() and draft.stat().st_size >= 4096 * least)  # type: ignore[misc]
        kill(process)
        assert not path.exists()
    both = [creating(path) for _ in range(2)]
    for process in both:
        begin(process)
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert not is_unfinished(path)
    assert sorted(p.suffix for p in path.parent.iterdir() if p.suffix != ".lock") == [".db"]


def test_the_default_store_recovers_from_a_database_that_mlflow_left_half_created(
    ready_database: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("mlruns").resolve() / "mlflow.db"
    half_created(ready_database, path)
    _copies(ready_database, monkeypatch)
    tracked = Tracker.start("locate-solve")
    tracked.fail("enough")
    assert tracked.run_id
    (aside,) = path.parent.glob("mlflow.db.broken-*")
    assert f"it is now {aside}" in caplog.text
    assert tables(aside) > 0


def test_a_half_created_database_of_the_users_is_left_and_the_message_says_what_helps(
    ready_database: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path.cwd() / "own.db"
    half_created(ready_database, path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    tracked = Tracker.start("locate-solve")
    tracked.fail("enough")
    assert tracked.run_id is None
    assert f"{path} was half created, with nothing in it" in caplog.text
    assert "move it away" in caplog.text
    assert not list(path.parent.glob("*broken*"))


@pytest.mark.parametrize("sql", [
    "INSERT INTO experiments (experiment_id, name) VALUES (3, 'mine')",
    "CREATE TABLE mine (text TEXT)",
    "CREATE TABLE notes AS SELECT 'mine' AS text",
])  # fmt: skip
def test_a_database_with_anything_in_it_is_nobodys_to_move(
    sql: str, ready_database: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mlflow.db"
    if "INTO" in sql or "AS" in sql:
        half_created(ready_database, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql)
        connection.commit()
    ensure_database(path, ours=True)
    assert [each.name for each in tmp_path.glob("mlflow.db*")] == ["mlflow.db"]


def test_a_database_that_another_program_is_creating_is_waited_for(
    ready_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    half_created(ready_database, path)
    path.touch()

    def others_go_on(_: float) -> None:
        path.write_bytes(ready_database.read_bytes())

    monkeypatch.setattr("optimizer.tracking.database.time.sleep", others_go_on)
    ensure_database(path, ours=True)
    assert not list(tmp_path.glob("*broken*"))


def test_an_empty_file_is_no_database_yet(
    ready_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `sqlite3.connect` leaves it."""
    _copies(ready_database, monkeypatch)
    monkeypatch.setattr(database, "AT_REST_S", 0.0)
    (tmp_path / "mlflow.db").touch()
    ensure_database(tmp_path / "mlflow.db", ours=False)
    assert not is_unfinished(tmp_path / "mlflow.db")


def _copies(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creates by a copy, which takes no time."""
    monkeypatch.setattr(
        database, "_create", lambda path: bool(path.write_bytes(ready.read_bytes()))
    )
