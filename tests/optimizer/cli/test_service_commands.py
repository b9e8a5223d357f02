"""The commands of the search service, but for those that run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from optimizer.cli import main
from optimizer.service import queue
from optimizer.service.queue import Ending, WorkerFacts
from optimizer.version import library_version
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import simulated_dataset
from tests.launching import REPOSITORY
from tests.optimizer.service.served import SECRET, Served

Captured = pytest.CaptureFixture[str]
OPTIONS = ["pipeline.yaml", "rows.jsonl", "--models", "sim/alder,sim/birch", "--budget-usd", "0.5"]
SCORE = {"mean": 0.75, "low": 0.6, "high": 0.9}
FIGURES = {"tuned": {"score": SCORE}, "baseline": {"score": SCORE}, "measured_on": "holdout"}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    locate_solve().save("pipeline.yaml")
    rows = simulated_dataset("locate_solve", 12, rows=3)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    running = Served(f"sqlite:///{tmp_path / 'service.db'}")
    monkeypatch.setenv("COMPOUND_OPTIMIZER_URL", running.address)
    monkeypatch.setenv("COMPOUND_OPTIMIZER_TOKEN", SECRET)
    yield running
    running.stop()


def printed(capsys: Captured, *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_search_from_submission_to_result(served: Served, capsys: Captured) -> None:
    made = printed(capsys, "submit", *OPTIONS, "--within", "0.01", "--stages", "allocation")
    key = made["id"]
    assert made["estimate"]["search_examples"] == 8
    assert main(["searches"]) == 0
    line = f"{key}  locate-solve: queued, waits for a worker: none is running, 0 trials, $0.00 in"
    assert line in capsys.readouterr().out
    assert printed(capsys, "stop", key)["state"] == "stopped"
    assert main(["watch", key]) == 1, "it has no result"
    assert printed(capsys, "resume", key)["state"] == "queued"

    worker = WorkerFacts("w1", library_version(), "here", [])
    leased = queue.lease(served.database, worker, 60.0)
    assert leased is not None
    trial = {"number": 0, "stage": "baseline", "changed": "", "score": 0.75, "examples": 8}
    files = {"config.yaml": b"name: tuned\n", "report.html": b"<p>"}
    queue.end(served.database, leased, Ending("done", 0.1, 9, FIGURES, None, files),
              [("trial", trial)])  # fmt: skip
    assert main(["watch", key]) == 0
    out = capsys.readouterr().out
    assert "  trial 0 (baseline): 75.0% on 8" in out
    assert "locate-solve: done, 75.0% -> 75.0% (holdout), 1 trial, $0.100 in 9 calls" in out
    assert printed(capsys, "result", key, "--save", "new/t.yaml", "--report", "r.html") == FIGURES
    assert Path("new/t.yaml").read_text() == "name: tuned\n"
    assert Path("r.html").read_text() == "<p>"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["submit", *OPTIONS, "--metric", "exact"], 2, "nearest: 'exact_match'"),
        (["submit", "none.yaml", *OPTIONS[1:]], 2, "none.yaml"),
        (["submit", *OPTIONS, "--token", "wrong"], 1, "a valid token is needed"),
        (["watch", "nothing"], 1, "there is no search 'nothing'"),
        (["searches", "--url", "http://127.0.0.1:9"], 1, "http://127.0.0.1:9 can't be reached"),
        (["serve", "--allow", "none"], 2, "--allow must name a folder, but got 'none'"),
        (["serve", "--tokens", "none.yaml"], 2, "none.yaml: no such file"),
        (["worker", "--database", "rows"], 2, "must be an address such as sqlite:///service.db"),
    ],
)
def test_what_is_wrong_is_one_message(
    served: Served, capsys: Captured, arguments: list[str], code: int, message: str
) -> None:
    assert main(arguments) == code
    assert message in capsys.readouterr().err


def test_serve_prints_no_token_that_it_was_given() -> None:
    command = [sys.executable, "-m", "optimizer.cli", "serve", "--workers", "0", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment["COMPOUND_OPTIMIZER_TOKEN"] = "a token & more"
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        address = service.stdout.readline().strip()
        assert httpx.get(address, timeout=60).status_code == 200
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 143
    assert re.fullmatch(r"http://127.0.0.1:\d+", address)


def test_serve_prints_where_the_page_is_and_ends_at_sigterm() -> None:
    command = [sys.executable, "-m", "optimizer.cli", "serve", "--workers", "0", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        address = service.stdout.readline().strip()
        page, _, secret = address.partition("/#token=")
        assert len(secret) >= 40, address
        headers = {"Authorization": f"Bearer {secret}"}
        facts = httpx.get(f"{page}/api/service", headers=headers, timeout=60).json()
        assert (facts["token"], facts["version"]) == ("owner", library_version())
        assert "Content-Security-Policy" in httpx.get(page).headers
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 143
    assert secret.encode() not in Path("mlruns/service.db").read_bytes()
