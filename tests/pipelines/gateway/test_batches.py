"""Calls by batch: who is batched, who gets which reply, what it costs, and what a kill leaves."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.loopback import (
    BatchBehaviour,
    Behaviour,
    LoopbackRequest,
    LoopbackServer,
    Price,
)
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall, LMReply
from pipelines.gateway.concurrency.limits import Batch, Limit
from pipelines.gateway.execution import batches
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.gateway.session import Session
from pipelines.providers import price_of

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]
Launch = Callable[[LoopbackServer, Path, str, int, int], int]

PRICES = {"tiny": Price(2.0, 8.0)}
COUNT = 12
LAUNCHED = 8
"""Threads of a launched process."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "QUIET_S", 0.3)


def serving(script: object = None, **behaviour: object) -> LoopbackServer:
    return LoopbackServer(script, prices=PRICES, batches=BatchBehaviour(**behaviour))  # type: ignore[arg-type]


def numbered(make_call: MakeCall, server: LoopbackServer, count: int = COUNT) -> list[LMCall]:
    return [make_call(server, f"{number}") for number in range(count)]


def opened(
    open_gateway: OpenGateway,
    server: LoopbackServer,
    cache: Path | None = None,
    *,
    study: str = "study",
    budget: Budget | None = None,
    **batch: object,
) -> Session:
    limits = {server.url: Limit(batch=Batch(**batch))}  # type: ignore[arg-type]
    session = open_gateway(cache, limits=limits).session(study, budget)
    session.batches = True
    return session


def completed(
    session: Session, calls: Sequence[LMCall]
) -> list[LMReply | CallFailed | BudgetExhausted]:
    """What became of calls that are made all at once."""

    def outcome(call: LMCall) -> LMReply | CallFailed | BudgetExhausted:
        try:
            return session.complete(call)
        except (CallFailed, BudgetExhausted) as failure:
            return failure

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(outcome, calls))


def texts(outcomes: Sequence[object]) -> list[str]:
    return [each.text if isinstance(each, LMReply) else type(each).__name__ for each in outcomes]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def test_each_call_gets_its_reply_at_the_price_of_a_batch(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with serving(price=0.25, seconds=0.3) as server:
        session = opened(open_gateway, server, price=0.25)
        outcomes = completed(session, numbered(make_call, server))
        assert texts(outcomes) == [f"{number}" for number in range(COUNT)]
        assert server.batches is not None
        assert server.batches.sizes == [COUNT]
        assert session.spent.usd == pytest.approx(server.usd, rel=1e-9)
        assert session.nominal.usd == pytest.approx(4 * server.usd, rel=1e-9)
        assert session.nominal.calls == session.spent.calls == server.requests == COUNT
        assert all(math.isnan(each.latency_s) for each in outcomes if isinstance(each, LMReply))


def test_lines_that_failed_are_made_directly_unless_that_would_not_help(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        text = request.messages[-1]["content"]
        if text == "3":
            return Behaviour(status=400)
        return Behaviour(status=500 if text == "5" and request.index < COUNT else 200)

    with serving(script) as server:
        session = opened(open_gateway, server)
        outcomes = completed(session, numbered(make_call, server))
        (failure,) = (each for each in outcomes if isinstance(each, CallFailed))
        assert outcomes[3] is failure
        assert failure.kind == "bad_request"
        assert math.isnan(failure.latency_s)
        assert texts(outcomes)[5] == "5"
        assert session.spent.calls == server.requests == COUNT + 1
        assert session.spent.usd == pytest.approx(server.usd, rel=1e-9)


@pytest.mark.parametrize(("status", "served"), [("expired", 0.5), ("cancelled", 0.0)])
def test_what_an_ended_batch_left_out_is_made_directly_and_charged_once(
    make_call: MakeCall, open_gateway: OpenGateway, status: str, served: float
) -> None:
    with serving(status=status, served=served) as server:
        session = opened(open_gateway, server)
        outcomes = completed(session, numbered(make_call, server))
        assert texts(outcomes) == [f"{number}" for number in range(COUNT)]
        assert session.spent.calls == server.requests == COUNT
        assert session.spent.usd == pytest.approx(server.usd, rel=1e-9)


def test_calls_of_a_failed_batch_are_made_directly(
    make_call: MakeCall, open_gateway: OpenGateway, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(status="failed") as server:
        session = opened(open_gateway, server)
        outcomes = completed(session, numbered(make_call, server))
        assert texts(outcomes) == [f"{number}" for number in range(COUNT)]
        assert session.spent.usd == pytest.approx(server.usd, rel=1e-9)
    assert "enqueued token limit reached" in caplog.text


def test_a_provider_without_batches_is_asked_directly_and_for_none_again(
    make_call: MakeCall, open_gateway: OpenGateway, caplog: pytest.LogCaptureFixture
) -> None:
    with LoopbackServer(prices=PRICES) as server:
        session = opened(open_gateway, server)
        outcomes = completed(session, numbered(make_call, server, 2 * COUNT)[:COUNT])
        outcomes += completed(session, numbered(make_call, server, 2 * COUNT)[COUNT:])
        assert texts(outcomes) == [f"{number}" for number in range(2 * COUNT)]
        assert session.spent.usd == pytest.approx(server.usd, rel=1e-9)
    assert caplog.text.count("was not sent") == 1


def test_a_batch_that_may_have_been_taken_is_charged_at_its_worst(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with serving(answers=False) as server:
        session = opened(open_gateway, server)
        calls = numbered(make_call, server)
        outcomes = completed(session, calls)
        assert texts(outcomes) == [f"{number}" for number in range(COUNT)]
        assert session.spent.calls == server.requests == 2 * COUNT
        worst = sum(price_of(call.model).worst_usd(call) for call in calls)
        assert server.usd <= session.spent.usd <= 1.5 * worst


def test_a_hosted_model_is_batched_with_the_parameters_that_it_takes(
    make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[LoopbackRequest] = []

    def script(request: LoopbackRequest) -> Behaviour:
        asked.append(request)
        return Behaviour()

    with LoopbackServer(script, api_key="the-key-1234", batches=BatchBehaviour()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OWN_KEY", "the-key-1234")
        model = Model("openai/o4-mini", api_key_env="OWN_KEY", max_tokens=99)
        calls = [
            LMCall(model, ({"role": "user", "content": f"{number}"},), temperature=0.5)
            for number in range(COUNT)
        ]
        gateway = open_gateway(limits={"openai": Limit(batch=Batch())})
        session = gateway.session("study")
        session.batches = True
        outcomes = completed(session, calls)
        assert texts(outcomes) == [f"{number}" for number in range(COUNT)]
        assert server.batches is not None
        assert server.batches.sizes == [COUNT]
        assert {each.model for each in asked} == {"o4-mini"}
        assert all(each.params["max_completion_tokens"] == 99 for each in asked)
        assert not any({"max_tokens", "temperature"} & each.params.keys() for each in asked)
        assert 0 < session.spent.usd == pytest.approx(session.nominal.usd / 2)


def test_who_has_no_time_or_no_company_is_not_batched(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with serving() as server:
        assert server.batches is not None
        near = opened(open_gateway, server, budget=Budget(seconds=60), within_s=90.0)
        completed(near, numbered(make_call, server))
        alone = opened(open_gateway, server, min_calls=COUNT + 1)
        completed(alone, numbered(make_call, server))
        raced = opened(open_gateway, server)
        raced.first_of(numbered(make_call, server), 2)
        assert not server.batches.sizes
        far = opened(open_gateway, server, budget=Budget(seconds=120), within_s=90.0)
        completed(far, numbered(make_call, server))
        assert server.batches.sizes == [COUNT]


def test_a_batched_reply_is_no_reply_where_latencies_count(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with serving() as server:
        calls = numbered(make_call, server)
        completed(opened(open_gateway, server, cache), calls)
        again = opened(open_gateway, server, cache, study="again")
        kept = [each for each in completed(again, calls) if isinstance(each, LMReply)]
        assert all(each.cached and math.isnan(each.latency_s) for each in kept)
        assert again.spent.calls == 0
        quick = opened(open_gateway, server, cache, study="quick")
        quick.batches = False
        replies = completed(quick, calls)
        assert all(each.latency_s > 0 for each in replies if isinstance(each, LMReply))
        assert server.requests == 2 * COUNT


def test_the_caps_hold_at_the_price_of_a_batch(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with serving() as server:
        calls = numbered(make_call, server, 24)
        worst = price_of(calls[0].model).worst_usd(calls[0])
        session = opened(open_gateway, server, budget=Budget(usd=6.6 * worst, calls=20))
        outcomes = completed(session, calls)
        assert server.batches is not None
        assert server.batches.sizes[0] == 13, "so many fit at half the price"
        assert sum(isinstance(each, BudgetExhausted) for each in outcomes) == 4
        assert session.spent.calls == server.requests == 20
        assert server.usd <= session.spent.usd <= 6.6 * worst


def test_a_killed_process_leaves_a_batch_that_the_next_one_fetches(
    launch: Launch, make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with serving(seconds=600) as server:
        assert server.batches is not None
        pid = launch(server, cache, "batched", 0, LAUNCHED - 1)
        wait_until(lambda: bool(server.batches and server.batches.sizes))
        time.sleep(0.5)  # the batch's id is written when it has arrived
        os.kill(pid, signal.SIGKILL)
        server.batches.released.set()
        budget = Budget(calls=LAUNCHED)
        session = opened(open_gateway, server, cache, study="batched", budget=budget)
        assert session.spent.calls == 0
        calls = numbered(make_call, server, LAUNCHED)
        calls = [replace(call, model=replace(call.model, max_tokens=2048)) for call in calls]
        outcomes = completed(session, calls)
        assert texts(outcomes) == [f"{number}" for number in range(LAUNCHED)]
        assert server.batches.sizes == [LAUNCHED]
        assert session.spent.calls == server.requests == LAUNCHED
        assert session.spent.usd == pytest.approx(server.usd, rel=1e-9)


def test_a_stopped_run_leaves_its_batch_and_its_reservations(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with serving(seconds=600) as server:
        assert server.batches is not None
        session = opened(open_gateway, server, cache, budget=Budget(calls=COUNT))
        calls = numbered(make_call, server, COUNT + 1)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(completed, session, calls[:COUNT])
            wait_until(lambda: bool(session.gateway.store.batch_of(calls[0].batch_key)))
            session.stop()
            assert texts(running.result(timeout=10)) == ["BudgetExhausted"] * COUNT
        session.drain()
        later = opened(open_gateway, server, cache, budget=Budget(calls=COUNT))
        with pytest.raises(BudgetExhausted):  # and does not wait for what nobody fetches
            later.complete(calls[COUNT])
        server.batches.released.set()
        outcomes = completed(later, calls[:COUNT])
        assert texts(outcomes) == [f"{number}" for number in range(COUNT)]
        assert later.spent.calls == server.requests == COUNT


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="price"):
        Batch(price=1.0)
    with pytest.raises(ValueError, match="within_s"):
        Batch(within_s=0)
    with pytest.raises(ValueError, match="batch"):
        Limit(batch=0.5)  # type: ignore[arg-type]
