"""Searches whose calls workers of Dask make: a real scheduler and workers, some of them killed.

`make test-distributed` kills one of four workers every 20 seconds; the ordinary suite one of two.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import joblib
import pytest

from benchmarks.dask_cluster import DaskCluster
from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from optimizer.cli import main
from optimizer.cli import tune as tune_command
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.providers.simulated import simulated_dataset
from pipelines.workers.joblib_backend import NoWorkers
from tests.launching import wait_until
from tests.optimizer.runs import counting_server, outcome, served_models, tune

pytest.importorskip("distributed", reason="Dask is not installed: pip install distributed")
pytestmark = [
    # the second tells which of this machine's addresses leads to others; nothing is sent there
    pytest.mark.allow_hosts(["127.0.0.1", "192.0.2.1"]),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Size(NamedTuple):
    """How much is done, and disturbed."""

    workers: int
    rows: int
    latency_s: float
    kill_every_s: float
    kills: int


SIZE = (
    Size(4, 300, 1.0, 20.0, 100)
    if os.environ.get("DISTRIBUTED") == "all"
    else Size(2, 20, 0.2, 0.5, 1)
)
ROWS = simulated_dataset("locate_solve", SIZE.rows, rows=4)
CONCURRENCY = 16
MOST_USD, MOST_CALLS = 2.0, 40 * SIZE.rows
BUDGET = Budget(MOST_USD, MOST_CALLS)


@pytest.fixture(scope="module")
def cluster() -> Iterator[DaskCluster]:
    with DaskCluster(SIZE.workers) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed() -> str:
    """The outcome of the search without workers."""
    with counting_server() as server:
        return outcome(tune(ROWS, served_models(server), budget=BUDGET, concurrency=CONCURRENCY))


class Asked:
    """Counts what a server is asked, by question, and has it answer slowly."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: LoopbackRequest) -> Behaviour:
        with self._lock:
            self.counts[f"{request.model} {request.params.get('seed')}"] += 1
        return Behaviour.slow(SIZE.latency_s)


@contextmanager
def killing(cluster: DaskCluster, in_flight: Callable[[], int]) -> Iterator[list[int]]:
    """Kill a worker now and then while calls are in flight, and start another; lists the kills."""
    ended, kills = threading.Event(), list[int]()

    def kill() -> None:
        while len(kills) < SIZE.kills and not ended.wait(SIZE.kill_every_s):
            wait_until(lambda: in_flight() > 1 or ended.is_set())
            cluster.kill_worker()
            kills.append(1)
            cluster.add_worker()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield kills
    finally:
        ended.set()
        thread.join()


def test_a_search_on_workers_ends_as_without_them_though_some_are_killed(
    cluster: DaskCluster, undisturbed: str, tmp_path: Path
) -> None:
    asked = Asked()
    with counting_server(asked) as server:
        gateway = Gateway(tmp_path / "cache", backoff_s=0.01)
        with (
            joblib.parallel_config("dask", client=cluster.client),
            killing(
                cluster, lambda: server.meter.in_flight if server.requests > 30 else 0
            ) as kills,
        ):
            result = tune(
                ROWS, served_models(server), budget=BUDGET, concurrency=CONCURRENCY, gateway=gateway
            )
        gateway.close()
        paid_usd = server.usd
    assert kills, "no worker was killed while the search ran"
    assert outcome(result) == undisturbed
    again = sum(asked.counts.values()) - len(asked.counts)
    print(
        f"{len(kills)} workers killed; {len(asked.counts)} calls, {again} of them made again; "
        f"{result.spent.paid_now_calls} charged; ${result.spent.paid_now_usd:.4f} charged, "
        f"${paid_usd:.4f} by the server"
    )
    assert again <= len(kills) * CONCURRENCY, "only what was in flight is asked again"
    assert sum(asked.counts.values()) <= result.spent.paid_now_calls <= MOST_CALLS
    assert paid_usd <= result.spent.paid_now_usd <= MOST_USD


def test_a_search_whose_scheduler_vanishes_ends_and_is_resumed_elsewhere(
    undisturbed: str, tmp_path: Path
) -> None:
    asked, cache = Asked(), tmp_path / "cache"
    with counting_server(asked) as server:
        models = served_models(server)
        with DaskCluster(1) as cluster:
            gateway = Gateway(cache, backoff_s=0.01, outage_s=1.0)

            def vanish() -> None:
                wait_until(lambda: server.requests > 40)
                cluster.kill()

            thread = threading.Thread(target=vanish)
            thread.start()
            with (
                joblib.parallel_config("dask", client=cluster.client),
                pytest.raises(NoWorkers, match=r"no worker has been .* started again, goes on"),
            ):
                tune(ROWS, models, budget=BUDGET, concurrency=CONCURRENCY, gateway=gateway)
            thread.join()
            gateway.close()
        result = tune(ROWS, models, budget=BUDGET, concurrency=CONCURRENCY, cache=cache)
    assert outcome(result) == undisturbed
    again = sum(asked.counts.values()) - len(asked.counts)
    assert again <= CONCURRENCY, "only what was in flight is asked again"


def test_a_cluster_without_workers_is_refused_at_the_door() -> None:
    with LoopbackServer() as server, DaskCluster(0) as cluster:
        config = joblib.parallel_config("dask", client=cluster.client, wait_for_workers_timeout=0.5)
        with config, pytest.raises(NoWorkers, match="has no worker"):
            tune(ROWS, served_models(server), budget=BUDGET)
        assert server.requests == 0


def test_an_address_without_a_scheduler_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_command, "_CONNECT_S", 0.5)
    address = "tcp://127.0.0.1:1"
    assert main(["optimize", "pipeline.yaml", "rows.jsonl", "--dask", address]) == 2
    assert f"--dask: no scheduler answers at '{address}'" in capsys.readouterr().err
