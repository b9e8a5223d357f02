"""Providers that go away and models that hang: waited for, tried by one call, set aside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from pipelines.gateway.concurrency import health
from pipelines.gateway.concurrency.health import FEWEST_REPLIES, NEVER_ANSWERED, SHORTEST_S, Pace
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.session import Session
from tests.pipelines.gateway.waiting import until

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]


def port_of(server: LoopbackServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def fails(session: Session, call: LMCall) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        session.complete(call)
    return caught.value


def test_a_server_that_was_away_is_waited_for(
    make_call: MakeCall, open_gateway: OpenGateway, caplog: pytest.LogCaptureFixture
) -> None:
    session = open_gateway(retries=0).session("s", Budget(usd=1))
    with LoopbackServer() as server:
        calls = [make_call(server, f"{n}") for n in range(9)]
        session.complete(calls[0])
        port = port_of(server)
    with ThreadPoolExecutor(8) as pool:
        replies = pool.map(session.complete, calls[1:])
        until(lambda: "does the server run" in caplog.text)
        with LoopbackServer(port=port) as again:
            assert sorted(reply.text for reply in replies) == [f"{n}" for n in range(1, 9)]
            assert again.requests == 8
    assert session.spent.calls == 9  # what never connected is no call
    assert "no longer" in caplog.text


def test_a_server_that_stays_away_is_set_aside(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    gateway = open_gateway(outage_s=0.3)
    session = gateway.session("s")
    with LoopbackServer() as server:
        session.complete(make_call(server))
        calls = [make_call(server, f"{n}") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        failures = list(pool.map(lambda call: fails(session, call), calls))
    assert {failure.kind for failure in failures} == {"set_aside"}
    assert all(failure.infrastructure for failure in failures)
    assert "no connection to http://127.0.0.1" in str(failures[0])
    assert list(session.set_aside) == [calls[0].model.label]
    assert session.spent.calls == 1
    assert fails(session, calls[0]).kind == "set_aside"
    assert not gateway.session("another").set_aside


def test_a_server_that_was_never_there_is_not_waited_for_long(
    make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_NEVER_CONNECTED_S", 0.2)
    session = open_gateway(outage_s=60).session("s")
    with LoopbackServer() as server:
        call = make_call(server)
    assert fails(session, call).kind == "set_aside"
    assert session.spent.calls == 0


def test_waiting_for_a_server_ends_with_the_seconds_of_the_budget(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    session = open_gateway(outage_s=60).session("s", Budget(seconds=0.5))
    with LoopbackServer() as server:
        session.complete(make_call(server))
        call = make_call(server, "again")
    with pytest.raises(BudgetExhausted, match="seconds"):
        session.complete(call)


def test_a_server_that_reads_its_weights_is_waited_for(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    loading = Behaviour(status=503, body='{"error": {"message": "Loading model"}}')
    with LoopbackServer([loading] * 3) as server:
        session = open_gateway(retries=0).session("s")
        assert session.complete(make_call(server)).text == "hello"
        assert server.requests == 4


def test_a_model_that_never_answers_is_set_aside_after_a_few_calls(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(Behaviour.hang()) as server:
        session = open_gateway(timeout_s=0.1, retries=5).session("s")
        failures = [fails(session, make_call(server, f"{n}")) for n in range(5)]
        assert server.requests == NEVER_ANSWERED
    assert failures[-1].kind == "set_aside"
    assert "no answer in time" in str(failures[-1])


def test_a_call_is_given_up_by_how_fast_its_model_is() -> None:
    pace = Pace(120.0, 300.0)
    for _ in range(FEWEST_REPLIES - 1):
        pace.answered(0.2)
    assert pace.deadline_s == 120.0
    pace.answered(9.0)
    assert pace.deadline_s == 45.0
    pace.late(45.0)
    assert pace.deadline_s == 120.0, "the next one is waited for longer"
    fast = Pace(120.0, 300.0)
    for _ in range(FEWEST_REPLIES):
        fast.answered(0.2)
    assert fast.deadline_s == SHORTEST_S


def test_one_call_tries_and_the_others_wait() -> None:
    connection = health.Connection("somewhere", 60.0)
    connection.connected()
    connection.away("nothing there")
    trying = []

    async def attempt(number: int) -> None:
        if await connection.enter(lambda: None):
            trying.append(number)
            await asyncio.sleep(0.2)
            connection.connected()
            connection.leave()

    async def together() -> None:
        await asyncio.gather(*map(attempt, range(8)))

    asyncio.run(together())
    assert len(trying) == 1


def test_a_model_that_is_being_loaded_holds_up_no_other(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    loaded = threading.Event()

    def script(request: LoopbackRequest) -> Behaviour:
        loading = request.model == "slow" and not loaded.is_set()
        return Behaviour(status=503, body="Loading model") if loading else Behaviour()

    with LoopbackServer(script) as server, ThreadPoolExecutor(1) as pool:
        session = open_gateway(outage_s=600).session("s")
        call = make_call(server)
        slow = replace(call, model=replace(call.model, name="openai/slow", label="slow"))
        held = pool.submit(session.complete, slow)
        for n in range(20):
            session.complete(make_call(server, f"{n}"))
        assert not held.done()
        loaded.set()
        assert held.result().text == "hello"


def test_a_model_that_is_being_loaded_for_too_long_is_set_aside(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(Behaviour(status=503, body="Loading model")) as server:
        session = open_gateway(outage_s=0.6).session("s")
        call = make_call(server)
        assert fails(session, call).kind == "set_aside"
        assert "was being loaded" in session.set_aside[call.model.label]
        assert server.requests < 10  # a few tries, with pauses between them


def test_a_race_with_a_model_that_was_set_aside_keeps_nothing_reserved(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer() as server:
        session = open_gateway(outage_s=0).session("s", Budget(calls=4))
        here, elsewhere = make_call(server), make_call(server)
    gone = replace(elsewhere, model=replace(elsewhere.model, label="gone"))
    fails(session, gone)
    with LoopbackServer() as again:
        here = make_call(again)
        race = session.first_of([here, replace(gone, sample=1)])
        assert race.winners == (0,)
        for n in range(3):
            session.complete(make_call(again, f"{n}"))
    assert session.spent.calls == 4
