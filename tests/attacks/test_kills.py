"""Killed at any moment, a search resumes, ends the same, and pays for no answer twice.

`make attacks` kills at thirty moments, which takes some minutes; the ordinary suite at four.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from optimizer.tracking.tracker import import_mlflow
from pipelines.providers.simulated import simulated_dataset
from tests.launching import REPOSITORY, Launcher, wait_until
from tests.optimizer.runs import NAMES, counting_server

CONCURRENCY = 4
CAPS = {"usd": 1.0, "calls": 400}
ROWS = simulated_dataset("locate_solve", 12, rows=3)
DATABASE, DRAFT = "mlruns/mlflow.db", "mlruns/mlflow.db.new"
ACT = (
    "import json, os, sys; sys.path[0] = os.getcwd(); "
    "from tests.launching import act; act(json.loads(sys.argv[1]), print)"
)
"""The working folder changes later, while things are still to be imported."""

SECONDS = [f"{seconds} s after the start" for seconds in (0.05, 0.5, 1, 2, 4)]
"""Most of them while it imports; nothing is asserted about where that is."""
FILES = [
    "cache there", "cache/cache.sqlite there", f"{DRAFT} of 1 pages", f"{DRAFT} of 20 pages",
    f"{DRAFT} of 60 pages", f"{DATABASE} there",
]  # fmt: skip
SHARES = [f"{share}% of the calls" for share in (1, 3, 5, 8, *range(10, 101, 7), 99, 100)]
MOMENTS = [*SECONDS, *FILES, *SHARES]
SOME = [SECONDS[2], FILES[3], SHARES[0], SHARES[9]]


class Recorded:
    """Calls that a server was asked for, in their order. Slow enough for some to be in flight."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, request: LoopbackRequest) -> Behaviour:
        with self._lock:
            self.asked.append(json.dumps([request.messages, request.params], sort_keys=True))
        return Behaviour.slow(0.01)


class Undisturbed(NamedTuple):
    """What a search that nobody disturbs ends in, and what it asks for."""

    result: str
    asked: list[str]


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture(scope="module")
def server(recorded: Recorded) -> Iterator[LoopbackServer]:
    """One for all, since its address is a part of what is cached."""
    with counting_server(recorded) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(
    server: LoopbackServer, recorded: Recorded, launch: Launcher,
    tmp_path_factory: pytest.TempPathFactory,
) -> Undisturbed:  # fmt: skip
    folder = tmp_path_factory.mktemp("undisturbed")
    before = len(recorded.asked)
    launch.start(folder, tune=job_in(folder, server) | {"tracked": False})
    assert launch.wait() == 0, (folder / "err").read_text()
    return Undisturbed((folder / "result").read_text(), recorded.asked[before:])


def job_in(folder: Path, server: LoopbackServer) -> dict[str, Any]:
    return {
        "url": server.url, "cache": str(folder / "cache"), "result": "result", "names": NAMES,
        "dataset": ROWS, "concurrency": CONCURRENCY, "tracked": True, "caps": CAPS,
    }  # fmt: skip


class Victim:
    """A search in a process that is to be killed: a forked one, or one that must import first."""

    def __init__(self, launch: Launcher, folder: Path, job: Mapping[str, Any], fresh: bool) -> None:
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        if fresh:
            told = {"folder": str(folder), "environment": dict(os.environ), "tune": job}
            command = [sys.executable, "-c", ACT, json.dumps(told)]
            self._process = subprocess.Popen(command, cwd=REPOSITORY)
            self.pid = self._process.pid
        else:
            self.pid = launch.start(folder, tune=job)

    def kill(self) -> int:
        """Its exit code."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self._process.wait() if self._process else self._launch.wait()


def arrival(moment: str, folder: Path, asked: Callable[[], int], calls: int) -> Callable[[], bool]:
    """Whether the moment has come."""
    number, _, what = moment.partition(" ")
    if what.endswith("after the start"):
        end = time.monotonic() + float(number)
        return lambda: time.monotonic() >= end
    if what.endswith("of the calls"):
        return lambda: asked() >= max(1, calls * float(number.rstrip("%")) / 100)
    path = folder / number
    least = 4096 * int(what.split()[1]) if "pages" in what else 0
    return lambda: path.exists() and path.stat().st_size >= least


def row_of(cache: Path, query: str) -> tuple[Any, ...]:
    """The first row of what a process left behind, or zeros if it did not come to that."""
    path = cache / "cache.sqlite"
    if not path.exists():
        return (0, 0)
    with closing(sqlite3.connect(path)) as database:
        if database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,):
            return (0, 0)
        return tuple(database.execute(query).fetchone())


def statuses_in(path: Path) -> set[str]:
    """Of the searches in MLflow's database, which is whole."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    import_mlflow()
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{path}")
    experiment = client.get_experiment_by_name("locate-solve")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {run.info.status for run in runs}


@pytest.mark.parametrize("moment", MOMENTS if os.environ.get("ATTACKS") == "all" else SOME)
def test_a_search_killed_at_any_moment_ends_the_same(
    moment: str,
    launch: Launcher,
    server: LoopbackServer,
    recorded: Recorded,
    undisturbed: Undisturbed,
) -> None:
    folder = Path.cwd()
    job = job_in(folder, server)
    calls, before, before_usd = len(undisturbed.asked), len(recorded.asked), server.usd
    victim = Victim(launch, folder, job, fresh=moment in SECONDS)
    wait_until(arrival(moment, folder, lambda: len(recorded.asked) - before, calls), seconds=300)
    assert victim.kill() == -signal.SIGKILL
    wait_until(lambda: server.meter.in_flight == 0)
    paid = len(recorded.asked) - before
    (left, *_) = row_of(folder / "cache", "SELECT COUNT(*) FROM flights")

    launch.start(folder, tune=job)
    assert launch.wait() == 0, Path("err").read_text()
    assert Path("result").read_text() == undisturbed.result
    assert statuses_in(folder / DATABASE) <= {"FINISHED", "KILLED"}

    asked = recorded.asked[before:]
    repeated = len(asked) - len(set(asked))
    assert sorted(set(asked)) == sorted(undisturbed.asked)
    assert repeated <= left <= CONCURRENCY
    usd, made = row_of(folder / "cache", "SELECT SUM(picodollars) / 1e12, SUM(calls) FROM spend")
    assert len(asked) <= made <= len(undisturbed.asked) + left
    assert server.usd - before_usd <= usd * (1 + 1e-9)
    assert usd <= CAPS["usd"]
    print(f"{moment}: {paid} calls paid, {left} in flight, {repeated} repeated")
