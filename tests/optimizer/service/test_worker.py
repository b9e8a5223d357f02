"""One worker in this process: how searches end, are interrupted, fail, and are lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import update

import optimizer.loop
import optimizer.service.artifacts
import optimizer.service.worker
from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from optimizer.service import queue, serve
from optimizer.service.database import SEARCHES, Database
from optimizer.service.lease import Lease, LeasedGateway, clock
from optimizer.service.queue import MOST_LOST
from optimizer.service.request import SearchRequest, Upload
from optimizer.service.tokens import token_of
from optimizer.service.worker import Worker
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import CallFailed
from pipelines.gateway.storage.store import StoreError
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import simulated_dataset
from tests.launching import wait_until
from tests.optimizer.runs import NAMES, Untracked, counting_server, served_models

ANA = token_of("ana", "a")
ROWS = simulated_dataset("locate_solve", 12, rows=3)
LEASE_S = 2.0
PLANTED = "sk-planted-4f1c9e7ab2d84635"


class Provider:
    """A server of models; it may refuse, and tells how often it was asked."""

    def __init__(self) -> None:
        self.refuses = False
        self.asked = 0
        self.server: LoopbackServer

    def __call__(self, request: LoopbackRequest) -> Behaviour:
        self.asked += 1
        if self.refuses:
            return Behaviour(status=400, body=json.dumps({"error": {"message": f"bad {PLANTED}"}}))
        return Behaviour.slow(0.02)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    with counting_server(made) as made.server:
        yield made


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'service.db'}")
    queue.add_tokens(opened, [ANA])
    yield opened
    opened.close()


@pytest.fixture
def worker(database: Database) -> Iterator[Worker]:
    with patch.object(optimizer.loop, "Tracker", Untracked):
        yield Worker(database, {}, lease_s=LEASE_S)


def add(database: Database, worker: Worker, provider: Provider, **fields: Any) -> str:
    forms = {model.label: vars(model) for model in served_models(provider.server)}
    given = {"pipeline": locate_solve().to_yaml(), **fields}
    request = SearchRequest(
        dataset="", models=list(NAMES), stages=["allocation"], concurrency=4, budget={"usd": 1.0},
        **given,
    )  # fmt: skip
    data = Upload(name="rows.json", content=json.dumps(ROWS).encode())
    return queue.add(database, ANA, request, forms, data, "x", Budget(usd=1.0),
                     worker.facts.version)  # fmt: skip


def run(worker: Worker, act: Callable[[], None]) -> None:
    """Run the worker in the main thread, as it must be, until `act` is over in another."""
    problems: list[BaseException] = []

    def acting() -> None:
        try:
            act()
        except BaseException as problem:
            problems.append(problem)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: None)  # should it come too early
    thread = threading.Thread(target=acting)
    try:
        thread.start()
        worker._ending = False
        worker.run()
        thread.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    if problems:
        raise problems[0]


def shown(database: Database, key: str) -> dict[str, Any]:
    return queue.searches(database, ANA, key)[0]


def state(database: Database, key: str) -> str:
    return str(shown(database, key)["state"])


def test_a_search_is_stopped_resumed_and_done_without_paying_twice(
    database: Database, worker: Worker, provider: Provider
) -> None:
    key = add(database, worker, provider)
    seen: list[Any] = []

    def act() -> None:
        wait_until(lambda: provider.asked > 20)
        queue.stop(database, ANA, key)
        wait_until(lambda: state(database, key) == "stopped")
        seen.append((provider.asked, shown(database, key)["spent"]["calls"]))
        queue.resume(database, ANA, key, worker.facts.version)
        wait_until(lambda: state(database, key) in ("done", "failed"))

    run(worker, act)
    done = shown(database, key)
    assert done["state"] == "done", done["error"]
    [(asked, spent)] = seen
    assert asked == spent
    assert provider.asked == done["spent"]["calls"] == done["result"]["spent"]["calls"]
    assert done["artifacts"] == [
        "config.yaml", "examples.json", "module_scores.jsonl", "report.html", "trials.jsonl",
    ]  # fmt: skip
    assert done["spent"]["usd"] == pytest.approx(provider.server.usd)


def test_sigterm_puts_the_search_back_into_the_queue(
    database: Database, worker: Worker, provider: Provider
) -> None:
    key = add(database, worker, provider)
    run(worker, lambda: wait_until(lambda: provider.asked > 10))
    back = shown(database, key)
    assert (back["state"], back["waits_for"]) == ("queued", "a worker: none is running")
    assert back["spent"]["calls"] == provider.asked
    assert queue.lease(database, worker.facts, 60.0) is not None


def test_a_search_in_other_hands_is_left_without_a_word(
    database: Database, worker: Worker, provider: Provider
) -> None:
    key = add(database, worker, provider)
    asked: list[int] = []

    def act() -> None:
        wait_until(lambda: provider.asked > 10)
        with database.writing() as connection:
            connection.execute(update(SEARCHES).values(lease="another", lease_until=1e12))
        wait_until(lambda: worker._searching is False)
        asked.append(provider.asked)

    run(worker, act)
    now = shown(database, key)
    assert (now["state"], now["stopping"], now["error"]) == ("running", False, None)
    assert provider.asked - asked[0] <= 4, "no more than were in flight"
    kinds = [event["kind"] for event in queue.events_after(database, ANA, key, 0)]
    assert "queued" not in kinds[1:]


def test_a_failure_is_reported_without_secrets_and_can_be_resumed(
    database: Database,
    worker: Worker,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("THE_API_KEY", PLANTED)
    key = add(database, worker, provider)
    provider.refuses = True

    def act() -> None:
        wait_until(lambda: state(database, key) == "failed")
        provider.refuses = False
        queue.resume(database, ANA, key, worker.facts.version)
        wait_until(lambda: state(database, key) == "done")

    run(worker, act)
    failed = [e for e in queue.events_after(database, ANA, key, 0) if e["kind"] == "failed"]
    assert "bad <THE_API_KEY>" in failed[0]["data"]["error"]
    logged = next(text for text in caplog.messages if f"search {key} failed" in text)
    assert "Traceback" in logged
    assert "bad <THE_API_KEY>" in logged
    assert PLANTED not in caplog.text
    files = list(Path(database.shown.removeprefix("sqlite:///")).parent.glob("service.db*"))
    assert files
    assert not any(PLANTED.encode() in file.read_bytes() for file in files)


def test_a_search_that_no_worker_survives_fails(
    database: Database, worker: Worker, provider: Provider
) -> None:
    key = add(database, worker, provider)
    for _ in range(MOST_LOST):
        assert queue.lease(database, worker.facts, 0.01) is not None
        time.sleep(0.02)
    run(worker, lambda: wait_until(lambda: state(database, key) == "failed"))
    assert shown(database, key)["error"].startswith("5 workers in a row were lost with it")
    assert provider.asked == 0


def test_a_cache_that_cannot_be_used_fails_the_search_and_not_the_worker(
    database: Database, worker: Worker, provider: Provider
) -> None:
    broken, whole = (add(database, worker, provider) for _ in range(2))
    made: list[str] = []

    def gateway(folder: Path, search: str, lease: Lease) -> LeasedGateway:
        made.append(search)
        if search == broken:
            raise StoreError("the cache can't be opened: the disk is full")
        return LeasedGateway(folder, search, lease)

    with patch.object(optimizer.service.worker, "LeasedGateway", gateway):
        run(worker, lambda: wait_until(lambda: state(database, whole) == "done"))
    assert made == [broken, whole]
    failed = shown(database, broken)
    assert (failed["state"], failed["error"]) == (
        "failed", "the cache can't be opened: the disk is full"
    )  # fmt: skip


def test_a_cache_that_breaks_in_the_end_fails_the_search(
    database: Database, worker: Worker, provider: Provider
) -> None:
    key = add(database, worker, provider)
    with patch.object(LeasedGateway, "settled", side_effect=StoreError("no space left")):
        run(worker, lambda: wait_until(lambda: state(database, key) == "failed"))
    failed = shown(database, key)
    assert failed["error"] == "no space left"
    assert failed["spent"]["calls"] > 0


def test_an_end_that_the_database_refuses_is_a_failure(
    database: Database, worker: Worker, provider: Provider
) -> None:
    key = add(database, worker, provider)
    with patch.object(
        optimizer.service.artifacts, "result_files", lambda _: {"artifacts": {None: b""}}
    ):
        run(worker, lambda: wait_until(lambda: state(database, key) == "failed"))
    assert shown(database, key)["error"].startswith("what it found can't be written")


def test_a_renewal_that_fails_for_good_interrupts_the_search(
    database: Database, worker: Worker, provider: Provider
) -> None:
    add(database, worker, provider)
    leased = queue.lease(database, worker.facts, 60.0)
    assert leased is not None
    interrupted = threading.Event()
    lease = Lease(database, worker.facts, leased, 0.1, clock(), interrupted.set)
    lease.note("warning", {"message": object()})  # JSON has no form for it
    with lease.renewing():
        assert interrupted.wait(30)
    assert lease.lost


def test_calls_wait_while_the_lease_is_uncertain_and_fail_unsent_once_it_is_lost(
    database: Database, worker: Worker, provider: Provider, tmp_path: Path
) -> None:
    add(database, worker, provider)
    leased = queue.lease(database, worker.facts, 60.0)
    assert leased is not None
    began = time.clock_gettime(time.CLOCK_BOOTTIME) - 61  # as after a suspension
    interrupted: list[bool] = []
    lease = Lease(database, worker.facts, leased, 60.0, began, lambda: interrupted.append(True))
    gateway = LeasedGateway(tmp_path / "cache", leased.id, lease)
    gate = gateway.gate("openai")

    async def enter() -> bool:
        try:
            async with asyncio.timeout(0.2):
                await gate.enter(lambda: None)
        except TimeoutError:
            return False
        gate.leave()
        return True

    assert not asyncio.run(enter())
    lease._renew()
    assert asyncio.run(enter())
    with database.writing() as connection:
        connection.execute(update(SEARCHES).values(lease="another"))
    lease._renew()
    with pytest.raises(CallFailed, match="in other hands") as failed:
        asyncio.run(enter())
    assert not failed.value.sent
    gateway.close()


def test_searches_have_accounts_of_their_own(
    database: Database, worker: Worker, provider: Provider
) -> None:
    first, second = (add(database, worker, provider) for _ in range(2))
    run(worker, lambda: wait_until(lambda: state(database, second) == "done"))
    paid = [shown(database, key)["spent"]["calls"] for key in (first, second)]
    assert paid[0] == provider.asked
    assert paid[1] == 0, "the same search of the same token is answered from the cache"


def test_code_of_an_allowed_folder_runs_and_is_forgotten(
    database: Database, provider: Provider, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a_module_of_mine.py").write_text("def keep(task): return task\n")
    yaml = (
        "name: kept\nmodules:\n- {name: locate, signature: 'table, question -> task'}\n"
        "- {name: keep, signature: 'task -> kept', function: 'a_module_of_mine:keep'}\n"
        "- {name: solve, signature: 'kept -> answer'}\n"
    )
    with patch.object(optimizer.loop, "Tracker", Untracked):
        worker = Worker(database, {"mine": folder}, lease_s=LEASE_S)
        key = add(database, worker, provider, pipeline=yaml, folder="mine")
        run(worker, lambda: wait_until(lambda: state(database, key) in ("done", "failed")))
    done = shown(database, key)
    assert done["state"] == "done", done["error"]
    assert b"a_module_of_mine:keep" in queue.artifact(database, ANA, key, "config.yaml")
    assert "a_module_of_mine" not in sys.modules
    assert str(folder) not in sys.path


def test_workers_that_die_are_replaced_and_end_with_the_service(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []

    refusals = iter([OSError("no process is left")])

    def start(*_: Any) -> subprocess.Popen[bytes]:
        for refusal in refusals:
            raise refusal
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[-1]

    with (
        patch.object(serve, "_RESTART_S", 0.01),
        patch.object(serve, "_start", start),
        serve.workers(2, "sqlite://", []),
    ):
        wait_until(lambda: len(started) == 2)
        started[0].kill()
        wait_until(lambda: len(started) == 3)
    assert [process.poll() for process in started] == [-9, -15, -15]
