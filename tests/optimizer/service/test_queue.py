"""The queue: one holder for each search, budgets of tokens, and who may take what."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError, OperationalError

from optimizer.errors import ServiceError
from optimizer.service import queue
from optimizer.service.database import SEARCHES, Database
from optimizer.service.queue import Ending, Leased, NotPossible, OverBudget, UnknownSearch
from optimizer.service.queue import WorkerFacts as Facts
from optimizer.service.request import SearchRequest, Upload
from optimizer.service.tokens import token_of
from pipelines.gateway.budget import Budget

ANA = token_of("ana", "a").model_copy(update={"usd": 1.0, "calls": 1000})
BEN = token_of("ben", "b")
DATA = Upload(name="rows.jsonl", content=b"{}")
WORKER = Facts("w1", "1.0", "here", [])
GONE_S = 0.05


@pytest.fixture(autouse=True)
def tokens(database: Database) -> None:
    queue.add_tokens(database, [ANA, BEN])
    queue.add_tokens(database, [ANA])  # again, as after a restart


def add(database: Database, token: Any = BEN, usd: float = 0.5, **fields: Any) -> str:
    request = SearchRequest(pipeline="name: x", dataset="", budget={"usd": usd}, **fields)
    budget = Budget(usd=usd, calls=100)
    return queue.add(database, token, request, {}, DATA, "x", budget, "1.0")


def lease(database: Database, worker: Facts = WORKER, seconds: float = 60.0) -> Leased:
    leased = queue.lease(database, worker, seconds)
    assert leased is not None
    return leased


def shown(database: Database, key: str, token: Any = BEN) -> dict[str, Any]:
    return queue.searches(database, token, key)[0]


def kinds(database: Database, key: str) -> list[str]:
    return [event["kind"] for event in queue.events_after(database, BEN, key, 0)]


def test_many_workers_at_once_never_hold_one_search(database: Database) -> None:
    keys = {add(database) for _ in range(12)}
    together = threading.Barrier(8)

    def take(number: int) -> list[str]:
        together.wait()
        taken = []
        while leased := queue.lease(database, replace(WORKER, id=f"w{number}"), 60.0):
            taken.append(leased.id)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [key for each in pool.map(take, range(8)) for key in each]
    assert sorted(taken) == sorted(keys)


def test_the_oldest_goes_first_and_a_released_one_keeps_its_place(database: Database) -> None:
    first, second = add(database), add(database)
    leased = lease(database)
    assert leased.id == first
    assert queue.end(database, leased, Ending("queued", 0.1, 3))
    assert lease(database).id == first
    assert lease(database).id == second


def test_a_silent_worker_loses_its_search_and_can_write_nothing_more(database: Database) -> None:
    key = add(database)
    silent = lease(database, seconds=GONE_S)
    time.sleep(2 * GONE_S)
    heir = lease(database, replace(WORKER, id="w2"))
    assert (heir.id, heir.lost) == (key, 1)
    late = [("trial", {"number": 0})]
    assert queue.renew(database, silent, 60.0, (9.0, 9), {"best": 1.0}, late) is None
    assert not queue.end(database, silent, Ending("done", 9.0, 9, {}, None, {"a": b""}), late)
    assert queue.renew(database, heir, 60.0, (0.1, 1), {"best": 0.5}, []) is False
    now = shown(database, key)
    assert (now["state"], now["spent"]["usd"], now["progress"]) == ("running", 0.1, {"best": 0.5})
    assert now["artifacts"] == []
    assert kinds(database, key) == ["queued", "started", "taken over"]


def test_a_renewal_holds_what_nobody_took_in_the_meantime(database: Database) -> None:
    add(database)
    late = lease(database, seconds=GONE_S)
    time.sleep(2 * GONE_S)
    assert queue.renew(database, late, 60.0, (0.0, 0), {}, []) is False
    assert queue.lease(database, replace(WORKER, id="w2"), 60.0) is None


def test_trials_are_written_down_once_whoever_repeats_them(database: Database) -> None:
    key = add(database)
    trials = [("trial", {"number": number}) for number in range(3)]
    first = lease(database, seconds=GONE_S)
    queue.renew(database, first, GONE_S, (0.0, 0), {}, trials[:2])
    time.sleep(2 * GONE_S)
    second = lease(database, replace(WORKER, id="w2"))
    queue.renew(database, second, 60.0, (0.0, 0), {}, trials)
    numbers = [e["data"]["number"] for e in queue.events_after(database, BEN, key, 0)
               if e["kind"] == "trial"]  # fmt: skip
    assert numbers == [0, 1, 2]
    assert [e["number"] for e in queue.events_after(database, BEN, key, 2)] == [3, 4, 5, 6]


def test_workers_lost_in_a_row_are_counted_until_there_is_a_new_trial(database: Database) -> None:
    add(database)
    for lost in range(3):
        leased = lease(database, seconds=GONE_S)
        assert leased.lost == lost
        time.sleep(2 * GONE_S)
    leased = lease(database, seconds=GONE_S)
    queue.renew(database, leased, GONE_S, (0.0, 0), {}, [("trial", {"number": 0})])
    time.sleep(2 * GONE_S)
    assert lease(database).lost == 1


@pytest.mark.parametrize(
    ("worker", "waits_for"),
    [
        (replace(WORKER, version="2.0"), "a worker of version 1.0: those running are of 2.0"),
        (replace(WORKER, folders=["theirs"]), "a worker that allows the folder 'mine'"),
        (replace(WORKER, folders=["mine"]), "a free worker"),
    ],
)
def test_a_search_says_which_worker_it_waits_for(
    database: Database, worker: Facts, waits_for: str
) -> None:
    key = add(database, folder="mine")
    assert shown(database, key)["waits_for"] == "a worker: none is running"
    queue.record_heartbeat(database, worker)
    assert waits_for in shown(database, key)["waits_for"]
    assert (queue.lease(database, worker, 60.0) is not None) == (waits_for == "a free worker")


def test_a_search_that_began_goes_on_where_its_answers_are(database: Database) -> None:
    key = add(database)
    leased = lease(database)
    queue.end(database, leased, Ending("queued", 0.1, 3))
    elsewhere = replace(WORKER, id="w2", cache="elsewhere")
    queue.record_heartbeat(database, elsewhere)
    assert queue.lease(database, elsewhere, 60.0) is None
    assert "with the cache where it began" in shown(database, key)["waits_for"]
    assert lease(database).id == key


def test_resumed_it_runs_with_the_services_version(database: Database) -> None:
    key = add(database)
    queue.stop(database, BEN, key)
    queue.resume(database, BEN, key, "2.0")
    assert lease(database, replace(WORKER, version="2.0")).id == key


def test_a_stop_reaches_the_worker_and_also_its_heir(database: Database) -> None:
    key = add(database)
    leased = lease(database)
    queue.stop(database, BEN, key)
    assert shown(database, key)["stopping"]
    assert queue.renew(database, leased, GONE_S, (0.0, 0), {}, []) is True
    time.sleep(2 * GONE_S)
    heir = lease(database)
    assert heir.stop
    assert queue.end(database, heir, Ending("stopped", 0.2, 2))
    with pytest.raises(NotPossible, match=r"it has ended \(stopped\)"):
        queue.stop(database, BEN, key)
    queue.resume(database, BEN, key, "1.0")
    assert not lease(database).stop


def test_only_what_ended_without_a_result_can_be_resumed(database: Database) -> None:
    key = add(database)
    with pytest.raises(NotPossible, match="is queued"):
        queue.resume(database, BEN, key, "1.0")
    queue.end(database, lease(database), Ending("done", 0.1, 1, {"tuned": 1}))
    with pytest.raises(NotPossible, match="is done"):
        queue.resume(database, BEN, key, "1.0")


def test_a_token_sees_nothing_of_others(database: Database) -> None:
    key = add(database, BEN)
    queue.end(database, lease(database), Ending("done", 0.1, 1, {}, None, {"a.json": b"{}"}))
    assert queue.searches(database, ANA) == []
    for look in (
        lambda: queue.searches(database, ANA, key), lambda: queue.stop(database, ANA, key),
        lambda: queue.resume(database, ANA, key, "1.0"),
        lambda: queue.events_after(database, ANA, key, 0),
        lambda: queue.artifact(database, ANA, key, "a.json"),
    ):  # fmt: skip
        with pytest.raises(UnknownSearch, match="there is no search"):
            look()
    assert queue.artifact(database, BEN, key, "a.json") == b"{}"


def test_budgets_count_in_full_until_a_search_ends_and_then_what_it_spent(
    database: Database,
) -> None:
    first = add(database, ANA, 0.6)
    with pytest.raises(OverBudget) as refused:
        add(database, ANA, 0.5)
    assert str(refused.value) == (
        "the budget of $0.500 exceeds what token 'ana' has left: $0.400 of $1.00, since its "
        "searches spent or may still spend $0.600"
    )
    add(database, ANA, 0.4)
    queue.end(database, lease(database), Ending("stopped", 0.25, 10))
    third = add(database, ANA, 0.35)
    with pytest.raises(OverBudget, match=r"has left: \$0.250 of \$1.00"):
        queue.resume(database, ANA, first, "1.0")
    queue.stop(database, ANA, third)
    queue.resume(database, ANA, first, "1.0")  # 0.6 + 0.4


def test_calls_are_capped_too_and_a_capped_token_needs_a_budget_in_its_unit(
    database: Database,
) -> None:
    request = SearchRequest(pipeline="name: x", dataset="")
    with pytest.raises(OverBudget, match=r"of 2,000 calls exceeds .* 1,000 calls of"):
        queue.add(database, ANA, request, {}, DATA, "x", Budget(usd=0.1, calls=2000), "1.0")
    with pytest.raises(OverBudget, match="capped at 1,000 calls: the budget must name calls, too"):
        queue.add(database, ANA, request, {}, DATA, "x", Budget(usd=0.1), "1.0")


def test_submissions_at_once_never_pass_the_cap_together(database: Database) -> None:
    together = threading.Barrier(8)

    def submit(_: int) -> bool:
        together.wait()
        try:
            add(database, ANA, 0.3)
        except OverBudget:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(8))) == 3


def test_a_locked_database_is_waited_for_and_then_an_error(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    database = Database(f"sqlite:///{path}?timeout=0.1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            queue.record_heartbeat(database, WORKER)
        other.execute("ROLLBACK")
    queue.record_heartbeat(database, WORKER)


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("service.db", ValueError, "must be an address such as sqlite:///service.db"),
        ("mysql://me:secret@there/x", ValueError, "but got 'mysql://there/x'"),
        ("sqlite:////nowhere/at/all.db", ServiceError, "can't be used: unable to open"),
    ],
)
def test_a_bad_address_is_refused_without_its_password(
    address: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        Database(address)
    assert "secret" not in str(refused.value)


def test_a_stop_that_comes_while_the_worker_leaves_is_kept(database: Database) -> None:
    key = add(database)
    leased = lease(database)
    queue.stop(database, BEN, key)
    assert queue.end(database, leased, Ending("queued", 0.1, 3))
    now = shown(database, key)
    assert (now["state"], now["stopping"], now["ended"] is None) == ("stopped", False, False)
    assert kinds(database, key)[-1] == "stopped"
    assert queue.lease(database, WORKER, 60.0) is None


def test_a_search_whose_worker_is_gone_stops_at_once(database: Database) -> None:
    key = add(database)
    silent = lease(database, seconds=GONE_S)
    time.sleep(2 * GONE_S)
    queue.stop(database, BEN, key)
    assert shown(database, key)["state"] == "stopped"
    assert queue.renew(database, silent, 60.0, (0.1, 1), {}, []) is None
    assert not queue.end(database, silent, Ending("done", 0.1, 1, {}))
    queue.resume(database, BEN, key, "1.0")
    assert lease(database).lost == 0


def test_text_that_no_database_takes_is_cleaned(database: Database) -> None:
    request = SearchRequest(pipeline="name: x", dataset="")
    key = queue.add(database, BEN, request, {}, DATA, "a\0b\ud800", Budget(usd=0.1), "1.0")
    assert queue.end(database, lease(database), Ending("failed", 0.1, 1, error="c\0d\udfff"))
    now = shown(database, key)
    assert (now["name"], now["error"]) == ("ab?", "cd?")


def test_an_ending_without_what_it_spent_keeps_what_was_known(database: Database) -> None:
    key = add(database)
    leased = lease(database)
    queue.renew(database, leased, 60.0, (0.2, 7), {}, [])
    queue.end(database, leased, Ending("failed", None, None, error="no cache"))
    assert shown(database, key)["spent"] == {"usd": 0.2, "calls": 7}


def test_errors_of_the_database_hold_no_rows(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'service.db'}")
    queue.add_tokens(database, [BEN])
    request = SearchRequest(pipeline="a private prompt", dataset="")
    refusing = "CREATE TRIGGER t BEFORE INSERT ON searches BEGIN SELECT RAISE(ABORT, 'no'); END"
    with database.writing() as connection:
        connection.exec_driver_sql(refusing)
    with pytest.raises(IntegrityError, match="no") as failed:
        queue.add(database, BEN, request, {}, DATA, "x", Budget(usd=0.1), "1.0")
    assert "a private prompt" not in str(failed.value)
    database.close()


def test_a_list_reads_no_whole_requests(database: Database) -> None:
    key = add(database, models=["a", "b"])
    with database.writing() as connection:
        connection.execute(update(SEARCHES).values(request="not read"))
    now = shown(database, key)
    assert (now["models"], now["metric"], now["dataset"], now["budget"]) == (
        ["a", "b"], "exact_match", "rows.jsonl", {"usd": 0.5}
    )  # fmt: skip


def test_a_database_of_another_version_is_refused(url: str) -> None:
    made = Database(url)
    with made.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE searches DROP COLUMN facts")
    made.close()
    with pytest.raises(ServiceError, match="made by another version, without facts: finish"):
        Database(url)
