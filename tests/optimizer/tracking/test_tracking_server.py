"""A real `mlflow server` that is killed in the middle of a run and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from optimizer.results.result import Result
from optimizer.tracking import Tracker, delivery
from optimizer.tracking.store import TrackingStore
from pipelines.gateway.gateway import default_cache_folder
from tests.optimizer.made import make_result, make_trial


@pytest.fixture
def address(ready_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "mlflow.db").write_bytes(ready_database.read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


@contextmanager
def serving(address: str, folder: Path) -> Iterator[None]:
    """The server, from its first answer until all of its processes are killed."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1",
        "--port", address.rpartition(":")[2], "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    # its job runners take as long to start as all the rest, and nothing here is a job
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log.txt").open("ab") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        ends = time.monotonic() + 60
        while TrackingStore(address).problem():
            assert time.monotonic() < ends, (folder / "log.txt").read_text()[-2000:]
            assert server.poll() is None, (folder / "log.txt").read_text()[-2000:]
            time.sleep(0.1)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_a_server_that_dies_midway_gets_everything_when_it_is_back(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(delivery, "RETRY_S", 0.1)
    folder, trials = tmp_path / "server", make_result().trials_
    with serving(address, folder):
        lasting, ending = Tracker.start("locate-solve"), Tracker.start("locate-solve")
        for run in (lasting, ending):
            run.record(trials[0])
        ids = [_id_of(run) for run in (lasting, ending)]

    started = time.monotonic()
    for run in (lasting, ending):
        for trial in trials[1:4]:
            run.record(trial)
    assert time.monotonic() - started < 0.5
    ending.record(trials[4])
    ending.finish(_result(ids[1], address))
    assert time.monotonic() - started < 30
    assert "the next run that reaches it logs them" in caplog.text

    with serving(address, folder):
        lasting.record(trials[4])
        lasting.finish(_result(ids[0], address))
        _check(address, ids[0])
        Tracker.start("locate-solve", "the next run").fail("not ended")
        _check(address, ids[1])
    assert list((default_cache_folder() / "unlogged").iterdir()) == []
    said = [r.getMessage() for r in caplog.records if "the search goes on" in r.getMessage()]
    assert len(said) == 2
    assert address in said[0]
    assert capsys.readouterr().out == ""


def test_a_server_that_was_never_there_costs_no_time(address: str) -> None:
    started = time.monotonic()
    tracked = Tracker.start("locate-solve")
    tracked.record(make_trial(0))
    assert tracked.run_id is None
    tracked.fail("enough")
    assert time.monotonic() - started < 10


def _id_of(tracked: Tracker) -> str:
    """The run's id, once everything told so far is logged."""
    ends = time.monotonic() + 60
    while tracked._delivery._journal.first is not None:
        assert time.monotonic() < ends
        time.sleep(0.02)
    return str(tracked.run_id)


def _result(run_id: str, address: str) -> Result:
    return replace(make_result(), run_id=run_id, tracking_uri=address)


def _check(address: str, run_id: str) -> None:
    """The run is whole: parent, children, artifacts and model."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    parent = client.get_run(run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["final/score"] == pytest.approx(0.883)
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
    )
    assert sorted(run.data.tags["trial"] for run in children) == list("01234")
    assert "report.html" in {file.path for file in client.list_artifacts(run_id)}
    assert parent.outputs is not None
    output = max(parent.outputs.model_outputs, key=lambda each: each.step)  # the tuned one
    files = {file.path for file in client.list_logged_model_artifacts(output.model_id)}
    assert {"MLmodel", "code"} <= files
