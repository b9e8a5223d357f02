"""A process killed with SIGKILL leaves its reservations behind; they are charged, not lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers import price_of

OpenGateway = Callable[..., Gateway]
Launch = Callable[[LoopbackServer, Path, str, int, int], int]

PRICES = {"tiny": Price(2.0, 8.0)}
CALLS, THREADS = 60, 8


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.001)


def calls_to(server: LoopbackServer) -> list[LMCall]:
    model = Model(
        "openai/tiny", api_base=server.url, input_usd_per_million=2, output_usd_per_million=8
    )
    return [LMCall(model, ({"role": "user", "content": f"{i}"},)) for i in range(CALLS)]


def test_calls_in_flight_at_a_kill_are_charged_at_their_worst(
    launch: Launch, cache: Path, open_gateway: OpenGateway
) -> None:
    dead = threading.Event()

    def script(_request: LoopbackRequest) -> Behaviour:
        return Behaviour() if dead.is_set() else Behaviour.hang()

    with LoopbackServer(script, prices=PRICES) as server:
        calls = calls_to(server)
        pid = launch(server, cache, "study", 0, CALLS - 1)
        wait_until(lambda: server.requests == THREADS)
        alive = open_gateway(cache).session("study")
        assert alive.spent.calls == 0, "they are still in flight"
        dead.set()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.meter.in_flight == 0)
        worst = sum(price_of(call.model).worst_usd(call) for call in calls[:THREADS])
        again = open_gateway(cache).session("study", Budget(calls=CALLS, usd=2 * worst))
        assert again.spent.calls == THREADS
        assert again.spent.usd == pytest.approx(worst, rel=1e-6)
        with pytest.raises(BudgetExhausted):
            list(map(again.complete, calls))
        assert server.usd <= again.spent.usd <= 2 * worst
        assert again.spent.calls == server.requests <= CALLS


def test_who_waits_for_room_learns_that_the_others_have_died(
    launch: Launch, cache: Path, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(Behaviour.hang(), prices=PRICES) as server:
        pid = launch(server, cache, "study", 0, CALLS - 1)
        wait_until(lambda: server.requests == THREADS)
        alive = open_gateway(cache).session("study", Budget(calls=THREADS))
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(alive.complete, calls_to(server)[-1])
            with pytest.raises(TimeoutError):
                waits.result(timeout=0.3)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(BudgetExhausted, match=f"{THREADS} calls are spent"):
                waits.result(timeout=20)
        assert server.requests == alive.spent.calls == THREADS


def test_a_run_killed_five_times_repeats_at_most_what_was_in_flight(
    launch: Launch, cache: Path, open_gateway: OpenGateway
) -> None:
    moments = (1, 12, 25, 38, 51)
    with LoopbackServer(Behaviour.slow(0.03), prices=PRICES) as server:
        for moment in moments:
            pid = launch(server, cache, "study", 0, CALLS - 1)
            wait_until(lambda moment=moment: server.requests >= moment)  # type: ignore[misc]
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: server.meter.in_flight == 0)
        session = open_gateway(cache).session("study")
        replies = [session.complete(call) for call in calls_to(server)]
        assert [reply.text for reply in replies] == [f"{i}" for i in range(CALLS)]
        assert CALLS <= server.requests <= CALLS + len(moments) * THREADS
        assert session.spent.calls >= server.requests
        assert session.spent.usd >= server.usd
        assert session.nominal.calls == CALLS
