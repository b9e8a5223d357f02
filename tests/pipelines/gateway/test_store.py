"""The file of the cache: damage, other versions, and disks that are full, locked or read-only."""

from __future__ import annotations

import math
import random
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import LoopbackServer, Price
from pipelines.gateway.budget import Budget, PurposeSpend
from pipelines.gateway.call import BudgetExhausted, CallRace, LMCall, LMReply, batch_key
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.gateway.storage import database
from pipelines.gateway.storage.store import Caps, Claim, Settlement, Store, StoreError
from pipelines.patterns import majority_vote

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]

REPLIES = {
    f"{i:064x}": LMReply(f"Answer {i}. " * 20, "stop", i, i, i / 7, i / 3) for i in range(30)
}
LOST = PurposeSpend(0.1, 1, 5, 6)
RACE = CallRace((1,), (LMReply("first", "stop", 1, 2, 0.25, 0.5),), (LOST, PurposeSpend()))
FLIPS = 60


def pay(store: Store, key: str, study: str) -> None:
    assert store.claim({key: 9.0}, study, "task", Caps(None, None)) is Claim.GRANTED
    store.settle(Settlement(key, study, "task", REPLIES[key].cost, REPLIES[key]))


def fill(folder: Path) -> Path:
    store = Store(folder)
    for number, key in enumerate(REPLIES):
        pay(store, key, "study")
        store.first_seconds("study", key, float(number))
    assert store.claim_race("race")
    store.keep_race("race", RACE, "study", "task", PurposeSpend())
    store.close()
    return folder / "cache.sqlite"


def cached(reply: LMReply) -> LMReply:
    return replace(reply, cached=True)


def test_tool_calls_come_back_as_they_were_kept(tmp_path: Path) -> None:
    calls: tuple[Any, ...] = ({"id": "c1", "function": {"arguments": '{"a": "é'}}, {"x": [1, None]})
    key, reply = "f" * 64, LMReply("", "tool_calls", 1, 2, 0.5, 0.25, calls)
    race = replace(RACE, replies=(reply,))
    store = Store(tmp_path)
    store.claim({key: 1.0}, "study", "task", Caps(None, None))
    store.settle(Settlement(key, "study", "task", reply.cost, reply))
    store.claim_race("calls")
    store.keep_race("calls", race, "study", "task", PurposeSpend())
    store.close()
    again = Store(tmp_path)
    assert again.reply(key) == cached(reply)
    assert again.race("calls") == replace(race, replies=(cached(reply),))
    again.close()


@pytest.mark.parametrize("kept_s", [math.nan, 0.0])  # 0 in older files
def test_a_reply_by_batch_has_an_unknown_latency(tmp_path: Path, kept_s: float) -> None:
    key, brought = "f" * 64, LMReply("text", "stop", 1, 2, 0.5, kept_s)
    store = Store(tmp_path)
    store.claim({batch_key(key): 1.0}, "study", "task", Caps(None, None))
    store.settle(Settlement(batch_key(key), "study", "task", brought.cost, brought))
    store.keep_parsed("outputs", key, {"answer": "text"})
    store.close()
    again = Store(tmp_path)
    assert again.reply(key) is None
    parsed = again.parsed("outputs", batched=True)
    assert parsed is not None
    for found in (again.reply(key, batched=True), parsed.reply):
        assert found is not None
        assert math.isnan(found.latency_s)
        assert replace(found, latency_s=0.0) == cached(replace(brought, latency_s=0.0))
    again.close()


def test_flipped_bits_are_never_served(tmp_path: Path) -> None:
    whole = fill(tmp_path / "whole").read_bytes()
    dice, remade = random.Random(0), 0
    for flip in range(FLIPS):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        folder = tmp_path / f"{flip}"
        folder.mkdir()
        (folder / "cache.sqlite").write_bytes(damaged)
        store = Store(folder)
        found = store.race("race")
        assert found is None or found == replace(RACE, replies=tuple(map(cached, RACE.replies)))
        for number, (key, reply) in enumerate(REPLIES.items()):
            if store.reply(key) is None:
                pay(store, key, "again")
                remade += 1
            assert store.reply(key) == cached(reply)
            assert store.first_seconds("study", key, 0.5) in (float(number), 0.5)
        store.close()
        shutil.rmtree(folder)
    assert 0 < remade < FLIPS * len(REPLIES) / 10, "most are served all the same"


@pytest.mark.parametrize("table", ["replies", "held_races", "durations"])
def test_a_damaged_row_is_absent_and_reported_once(
    tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    database._warn_of_damaged_row.cache_clear()
    column = {"replies": "usd", "held_races": "losers", "durations": "seconds"}[table]
    with closing(sqlite3.connect(fill(tmp_path))) as db:
        db.execute(f"UPDATE {table} SET {column} = '[]'")
        db.commit()
    store, key = Store(tmp_path), next(iter(REPLIES))
    for _ in range(2):
        found = (store.reply(key), store.race("race"), store.first_seconds("study", key, 0.5))
        assert [found[0] is None, found[1] is None, found[2] == 0.5] == [
            table == name for name in ("replies", "held_races", "durations")
        ]
        store.first_seconds("study", key, 0.25)  # the first that is recorded anew
    assert caplog.text.count("is damaged; it counts as absent") == 1
    assert store.claim_race("race") == (table == "held_races")
    store.close()


def test_a_damaged_sum_sets_the_file_aside_with_all_that_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(fill(tmp_path))) as db:
        db.execute("UPDATE spend SET picodollars = 1")
        db.commit()
    store = Store(tmp_path)
    assert f"a new one starts with the {len(REPLIES)} replies" in caplog.text
    assert store.spent("study").calls == 0
    assert [store.reply(key) for key in REPLIES] == list(map(cached, REPLIES.values()))
    assert store.race("race") is not None
    store.close()
    assert len(list(tmp_path.glob("cache.sqlite.corrupt-*"))) == 1


def test_damage_met_during_a_run_says_what_to_do(tmp_path: Path) -> None:
    path = fill(tmp_path)
    store = Store(tmp_path)
    path.write_bytes(b"no database " * 4000)
    store._connection.execute("PRAGMA shrink_memory")  # what it has read so far
    with pytest.raises(StoreError, match=r"is corrupt .*end all runs that use it and start again"):
        list(map(store.reply, REPLIES))
    store.close()


@pytest.mark.parametrize("version", [0, 1, database.VERSION + 1, 99])
def test_other_versions_are_refused(tmp_path: Path, version: int) -> None:
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as db:
        db.execute("CREATE TABLE replies (key TEXT PRIMARY KEY, answer TEXT)")
        db.execute(f"PRAGMA user_version = {version}")
    before = (tmp_path / "cache.sqlite").read_bytes()[100:]
    with pytest.raises(StoreError, match=f"has version {version}, .* choose another folder"):
        Store(tmp_path)
    assert (tmp_path / "cache.sqlite").read_bytes()[100:] == before


Outage = Callable[[Gateway], Callable[[], object]]


def full(gateway: Gateway) -> Callable[[], object]:
    db = gateway.store._connection
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    return lambda: db.execute("PRAGMA max_page_count = 1000000")


def read_only(gateway: Gateway) -> Callable[[], object]:
    db = gateway.store._connection
    db.execute("PRAGMA query_only = 1")
    return lambda: db.execute("PRAGMA query_only = 0")


def locked(gateway: Gateway) -> Callable[[], object]:
    assert gateway.folder
    other = sqlite3.connect(
        gateway.folder / "cache.sqlite", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN EXCLUSIVE")
    return other.close


@pytest.mark.parametrize("outage", [full, read_only, locked])
def test_money_paid_while_the_disk_fails_is_not_lost(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path, outage: Outage,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It breaks after a call was reserved, and is back later."""
    monkeypatch.setattr(database, "LOCKED_S", 0.05)
    monkeypatch.setattr("pipelines.gateway.storage.store._HURRIED_MS", 50)
    ends: list[Callable[[], object]] = []

    def reply(messages: Sequence[Mapping[str, str]], _: object) -> str:
        if messages[-1]["content"] == "breaks":
            ends.append(outage(gateway))
        return "z" * 20_000

    with LoopbackServer(reply=reply, prices={"tiny": Price(2, 8)}) as server:
        gateway = open_gateway(cache)
        session = gateway.session("study", Budget(calls=3))
        first, breaks, refused, last, over = (
            make_call(server, text, max_tokens=9000)
            for text in ("first", "breaks", "refused", "last", "over")
        )
        session.complete(first)
        assert session.complete(breaks).text == session.complete(breaks).text == "z" * 20_000
        assert session.spent.calls == server.requests == 2
        assert session.spent.usd == pytest.approx(server.usd)
        with pytest.raises(StoreError, match=r"cache.sqlite' can't be written: .*Gateway\(cache="):
            session.complete(refused)
        assert caplog.text.count("held in memory") == 1
        ends[0]()
        session.complete(last)
        assert "is written again" in caplog.text
        with pytest.raises(BudgetExhausted):
            session.complete(over)
        gateway.close()
        again = open_gateway(cache).session("study", Budget(calls=3))
        assert again.spent.calls == server.requests == 3
        assert again.spent.usd == pytest.approx(server.usd)
        assert again.complete(breaks).cached


def test_what_a_process_could_not_write_is_charged_at_its_worst(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    def reply(*_: object) -> str:
        read_only(gateway)
        return "hello"

    with LoopbackServer(reply=reply) as server:
        gateway = open_gateway(cache)
        paid = gateway.session("study").complete(make_call(server))
        gateway.close()
        again = open_gateway(cache).session("study")
        assert again.spent.calls == 1
        assert again.spent.usd > paid.usd


def test_a_cache_that_fails_ends_a_search_with_its_message(tmp_path: Path) -> None:
    """Not with what DSPy makes of it, and not with a score of 0."""
    gateway = Gateway(tmp_path)
    pipeline, model = majority_vote(), Model("sim/alder")
    program = pipeline.bind(
        pipeline.default_config(model.label), {model.label: model}, gateway.session("study")
    )
    read_only(gateway)
    with pytest.raises(StoreError, match="can't be written: attempt to write a readonly database"):
        program.run(dict.fromkeys(pipeline.inputs, "x"))
    gateway.close()
