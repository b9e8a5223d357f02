"""Workers are killed and the service is restarted: every search ends as if nothing had happened.

`make test-service` runs twelve searches on three workers; the ordinary suite three on two.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from optimizer.service.artifacts import result_files
from pipelines.gateway.budget import Budget
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import simulated_dataset
from tests.launching import REPOSITORY, Launcher, wait_until
from tests.optimizer.runs import NAMES, counting_server, served_models, tune
from tests.optimizer.service.served import Served

CONCURRENCY = 4
BUDGET = Budget(usd=1.0, calls=400)
LEASE_S = 2.0


class Size(NamedTuple):
    """How much is done, and disturbed."""

    workers: int
    searches: int
    rows: int
    latency_s: float
    kill_every: float
    """Of the calls of all searches, the share between two kills; or seconds, from 1."""
    restarts: int


SIZE = (
    Size(3, 12, 40, 1.0, 30.0, 2)
    if os.environ.get("SERVICE") == "all"
    else Size(2, 3, 12, 0.1, 0.6, 1)
)


class Asked:
    """Calls that a server was asked for, in their order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.slow = False
        self._lock = threading.Lock()

    def __call__(self, request: LoopbackRequest) -> Behaviour:
        with self._lock:
            self.calls.append(json.dumps([request.messages, request.params], sort_keys=True))
        return Behaviour.slow(SIZE.latency_s if self.slow else 0.0)


@pytest.fixture
def restless(launch: Launcher, tmp_path: Path) -> Iterator[Any]:
    """Starts workers, of whom `kill` ends one without a warning."""
    started = []

    def start(url: str) -> None:
        script = [str(REPOSITORY / "tests/optimizer/service/workers.py"), url,
                  str(SIZE.workers), str(LEASE_S)]  # fmt: skip
        environment = {"COMPOUND_OPTIMIZER_CACHE": str(tmp_path / "answers"), "PYTHONPATH": ""}
        started.append(launch.start(Path.cwd(), environment, script=script))

    yield start
    for pid in started:
        os.kill(pid, signal.SIGTERM)
        assert launch.wait() == 0, Path("err").read_text()


def without_times(files: Mapping[str, bytes], figures: Mapping[str, Any]) -> tuple[Any, Any]:
    """What does not depend on how long anything took, nor on what was paid by whom."""
    trials = [json.loads(line) for line in files["trials.jsonl"].splitlines()]
    for trial in trials:
        for name in ("latency_s", "latency_p95_s", "seconds", "seconds_by_module"):
            del trial[name]
    kept = ("improved", "gain", "config", "changed", "trials", "gained", "lost")
    scores = [figures[name]["score"] for name in ("tuned", "baseline")]
    return trials, [[figures[name] for name in kept], scores]


def test_killed_and_restarted_all_searches_end_as_undisturbed_ones(
    restless: Any, default_store: str, tmp_path: Path
) -> None:
    asked = Asked()
    rows = [simulated_dataset("locate_solve", SIZE.rows, seed=seed, rows=3)
            for seed in range(SIZE.searches)]  # fmt: skip
    with counting_server(asked) as provider:
        models = {model.label: model for model in served_models(provider)}
        expected = {}
        for seed in range(SIZE.searches):
            result = tune(rows[seed], list(models.values()), cache=tmp_path / "undisturbed",
                          seed=seed, budget=BUDGET, concurrency=CONCURRENCY)  # fmt: skip
            files = result_files(result)
            expected[seed] = without_times(files["artifacts"], files["result"])
        undisturbed, asked.calls = set(asked.calls), []
        before_usd, asked.slow = provider.usd, True

        served = Served(f"sqlite:///{tmp_path / 'service.db'}", models)
        try:
            searches = {
                seed: served.client.submit(
                    locate_solve(), rows[seed], NAMES, seed=seed, budget=BUDGET,
                    stages=["allocation"], concurrency=CONCURRENCY,
                ).id
                for seed in range(SIZE.searches)
            }  # fmt: skip
            restless(served.database_url)
            kills = disturb(served, list(searches.values()), provider, len(undisturbed))
            found = {seed: served.client.search(key) for seed, key in searches.items()}
            for seed, search in found.items():
                ended = search.result()
                files = {"trials.jsonl": search.artifact("trials.jsonl")}
                assert without_times(files, dict(ended.figures)) == expected[seed], seed
                assert ended.pipeline.config is not None
                numbers = [e["data"]["number"] for e in search.watch() if e["kind"] == "trial"]
                assert numbers == list(range(ended.figures["trials"]))
            statuses = [search.status() for search in found.values()]
        finally:
            served.stop()
        paid_usd = provider.usd - before_usd

    assert kills >= 1
    assert set(asked.calls) == undisturbed
    repeated = sum(Counter(asked.calls).values()) - len(undisturbed)
    assert repeated <= kills * CONCURRENCY, "at most the calls in flight at a kill are made again"
    spent = [status["spent"] for status in statuses]
    assert all(each["usd"] <= 1.0 and each["calls"] <= 400 for each in spent)
    assert paid_usd <= sum(each["usd"] for each in spent) * (1 + 1e-9)
    assert len(asked.calls) <= sum(each["calls"] for each in spent)
    print(f"{len(statuses)} searches, {kills} kills, {len(asked.calls)} calls, {repeated} repeated")


def disturb(served: Served, searches: list[str], provider: LoopbackServer, calls: int) -> int:
    """Kill workers while calls are in flight, and restart the service, until all searches have
    ended; the number of kills."""
    chance, kills, restarts, began = random.Random(0), 0, 0, time.monotonic()
    before = provider.requests

    def ended() -> bool:
        states = [served.client.search(key).status()["state"] for key in searches]
        assert "failed" not in states
        return all(state == "done" for state in states)

    def due() -> bool:
        if SIZE.kill_every >= 1:
            return time.monotonic() - began >= SIZE.kill_every * (kills + 1)
        return provider.requests - before >= calls * SIZE.kill_every * (kills + 1)

    wait_until(lambda: Path("workers").exists())
    while not ended():
        if due() and provider.meter.in_flight:
            os.kill(int(chance.choice(Path("workers").read_text().split())), signal.SIGKILL)
            kills += 1
            if restarts < SIZE.restarts:
                served.stop()
                served.start()
                restarts += 1
        time.sleep(0.05)
    return kills
