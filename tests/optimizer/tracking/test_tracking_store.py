from __future__ import annotations

import http.server
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.formatting import ui_command, without_credentials
from optimizer.tracking.store import TrackingStore, chosen_store
from tests.launching import run_python


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=[200, 404, 503])
def server(request: pytest.FixtureRequest, free_port: int) -> Iterator[tuple[str, int]]:
    """A server that answers everything with one status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", free_port), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{free_port}", request.param
    served.shutdown()
    thread.join()
    served.server_close()


def test_default_is_a_database_in_this_folder_whatever_folder_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path.cwd()
    store = chosen_store()
    monkeypatch.chdir(tmp_path)
    assert store.uri == f"sqlite:///{here}/mlruns/mlflow.db"
    assert store.artifact_location == (here / "mlruns" / "artifacts").as_uri()
    assert not (here / "mlruns").exists()


def test_environment_decides_and_keeps_its_own_place_for_artifacts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    assert chosen_store() == TrackingStore(f"sqlite:///{Path.cwd()}/runs.db", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert chosen_store() == TrackingStore("http://127.0.0.1:5000", None)


def test_set_tracking_uri_decides() -> None:
    code = (
        "import mlflow; mlflow.set_tracking_uri('http://127.0.0.1:1234')\n"
        "from optimizer.tracking.store import chosen_store; print(chosen_store().uri)"
    )
    ran = run_python("-c", code)
    assert ran.stdout.strip() == "http://127.0.0.1:1234"


def test_importing_tracking_does_not_import_mlflow() -> None:
    code = "import sys, optimizer.tracking; print('mlflow' in sys.modules)"
    ran = run_python("-c", code)
    assert ran.stdout.strip() == "False"


def test_passwords_are_not_shown() -> None:
    uri = "postgresql://ann:hunter2@db.example/mlflow"
    assert TrackingStore(uri).shown == "postgresql://db.example/mlflow"
    assert "hunter2" not in ui_command(uri)
    assert without_credentials("sqlite:////a@b/c.db") == "sqlite:////a@b/c.db"


def test_ui_command_can_be_typed() -> None:
    assert "'sqlite:////my runs/mlflow.db'" in ui_command("sqlite:////my runs/mlflow.db")
    assert ui_command("http://127.0.0.1:5000") == "open http://127.0.0.1:5000"


def test_a_server_that_answers_is_there_unless_it_excuses_itself(server: tuple[str, int]) -> None:
    uri, status = server
    problem = TrackingStore(uri).problem()
    assert problem == ("it answers 503 Service Unavailable" if status == 503 else None)


def test_a_server_that_does_not_speak_http_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_speak_no_http, args=(listening,))
        thread.start()
        problem = TrackingStore(f"http://127.0.0.1:{listening.getsockname()[1]}").problem()
        thread.join()
    assert problem is not None


def _speak_no_http(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"220 mail.example.org ESMTP\r\n")


def test_a_server_that_is_not_there_is_a_problem(free_port: int) -> None:
    problem = TrackingStore(f"http://127.0.0.1:{free_port}").problem()
    assert problem is not None
    assert "refused" in problem


def test_a_folder_that_can_not_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("a file stands here")
    problem = TrackingStore(f"sqlite:///{tmp_path}/mlruns/mlflow.db").problem()
    assert problem is not None
    assert "exists" in problem


def test_a_database_that_is_none_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database" * 100)
    assert TrackingStore(f"sqlite:///{tmp_path}/mlflow.db").problem() == "file is not a database"


def test_a_look_changes_nothing_in_a_healthy_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE runs (id TEXT)")
    connection.close()
    before = (tmp_path / "mlflow.db").read_bytes()
    assert TrackingStore(f"sqlite:///{tmp_path}/mlflow.db").problem() is None
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_a_read_only_folder_is_a_problem(tmp_path: Path) -> None:
    """As a user whom permissions bind: root may write anywhere."""
    folder = tmp_path / "mlruns"
    folder.mkdir()
    folder.chmod(0o555)
    code = (
        "import os, sys\n"
        "from optimizer.tracking.store import TrackingStore\n"
        "if os.geteuid() == 0:\n"
        "    os.setuid(65534)\n"
        f"print(TrackingStore('sqlite:///{folder}/mlflow.db').problem())"
    )
    for parent in (tmp_path, *tmp_path.parents):
        if parent.name.startswith(("popen-", "pytest-", "test_")):  # made by pytest for its user
            parent.chmod(0o755)
    ran = run_python("-c", code)
    assert "Permission denied" in ran.stdout
