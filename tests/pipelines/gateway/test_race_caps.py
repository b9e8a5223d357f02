"""Races under caps, by the count of the server that charges; and races that end early."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from pipelines.gateway.concurrency.limits import Limit
from pipelines.gateway.gateway import Gateway, Session
from pipelines.providers import price_of
from tests.pipelines.gateway.caps import UNSHRUNK, bytes_as_tokens, troubled
from tests.pipelines.gateway.waiting import until

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]

RACES, REPLICAS = 64, 5
PRICES = {"tiny": Price(50.0, 200.0)}


def replicas(make_call: MakeCall, server: LoopbackServer, text: str) -> list[LMCall]:
    return [make_call(server, text, sample=sample) for sample in range(REPLICAS)]


def worst(calls: Sequence[LMCall]) -> float:
    return sum(price_of(call.model).worst_usd(call) for call in calls)


def outcome(session: Session, calls: Sequence[LMCall]) -> str:
    try:
        session.first_of(calls)
    except BudgetExhausted:
        return "no room"
    except CallFailed as failure:
        return failure.kind
    return "won"


def together(session: Session, races: Sequence[Sequence[LMCall]]) -> Counter[str]:
    with ThreadPoolExecutor(RACES) as pool:
        return Counter(pool.map(lambda calls: outcome(session, calls), races))


def impatient() -> Gateway:
    return Gateway(None, backoff_s=0.001, retries=1, timeout_s=1.0)


@settings(max_examples=3, phases=UNSHRUNK)
@given(cap=st.integers(5, RACES * REPLICAS), seed=st.integers(0, 2**16))
def test_calls_stay_under_the_cap_in_64_races(make_call: MakeCall, cap: int, seed: int) -> None:
    with LoopbackServer(troubled(seed, slowest_s=0.3)) as server, closing(impatient()) as gateway:
        session = gateway.session("caps", Budget(calls=cap))
        races = [replicas(make_call, server, f"{i}") for i in range(RACES)]
        outcomes = together(session, races)
        until(lambda: server.meter.in_flight == 0)
        assert 0 < server.requests <= session.spent.calls <= cap
        assert outcomes["won"] > 0
        if outcomes["no room"]:
            assert session.spent.calls + REPLICAS > cap


@settings(max_examples=3, phases=UNSHRUNK)
@given(share=st.floats(0.05, 1.0), seed=st.integers(0, 2**16))
def test_dollars_stay_under_the_cap_in_64_races(
    make_call: MakeCall, share: float, seed: int
) -> None:
    with (
        LoopbackServer(
            troubled(seed, slowest_s=0.3), prices=PRICES, count_tokens=bytes_as_tokens
        ) as server,
        closing(impatient()) as gateway,
    ):
        races = [replicas(make_call, server, f"{i} " + "x" * i) for i in range(RACES)]
        cap = share * sum(map(worst, races))
        session = gateway.session("caps", Budget(usd=cap))
        together(session, races)
        until(lambda: server.meter.in_flight == 0)
        assert 0 < server.usd <= session.spent.usd <= cap


def test_dollars_stay_under_the_cap_where_cut_off_calls_are_billed_in_part(
    make_call: MakeCall,
) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.slow(random.Random(request.index).uniform(0.05, 1.0))

    with (
        LoopbackServer(
            script, prices=PRICES, count_tokens=bytes_as_tokens, bills_abandoned=False,
            reply=lambda *_: "x" * 50,
        ) as server,
        closing(Gateway(None, limits={server.url: Limit(bills_cancelled=False)})) as gateway,
    ):  # fmt: skip
        races = [replicas(make_call, server, f"{i}") for i in range(RACES)]
        cap = 0.3 * sum(map(worst, races))
        session = gateway.session("caps", Budget(usd=cap))
        together(session, races)
        until(lambda: server.meter.in_flight == 0)
        assert server.meter.abandoned > RACES / 4  # on a busy machine more replies win
        assert 0 < server.usd <= session.spent.usd <= cap


def test_a_race_without_room_for_all_of_its_calls_is_not_begun(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer() as server:
        session = open_gateway().session("s", Budget(calls=REPLICAS - 1))
        calls = replicas(make_call, server, "hello")
        with pytest.raises(BudgetExhausted, match="5 calls at once to openai/tiny"):
            session.first_of(calls)
        assert server.requests == session.spent.calls == 0
        assert session.first_of(calls[1:]).replies[0].text == "hello"


def test_a_race_waits_for_room_that_calls_in_flight_may_leave(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with (
        LoopbackServer(Behaviour.slow(0.5), prices=PRICES) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        calls = replicas(make_call, server, "hello")
        session = open_gateway().session("s", Budget(usd=1.1 * worst(calls)))
        first = pool.submit(session.complete, make_call(server, "hello", sample=9))
        until(lambda: server.requests == 1)
        assert session.first_of(calls, REPLICAS).losers.calls == 0
        assert first.result().text == "hello"
        assert server.requests == 1 + REPLICAS


def test_who_has_no_place_before_the_race_is_over_costs_nothing(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(Behaviour.slow(0.3), prices=PRICES) as server:
        gateway = open_gateway(limits={server.url: Limit(concurrency=1)})
        session = gateway.session("s", Budget(usd=1))
        race = session.first_of(replicas(make_call, server, "hello"))
        assert server.requests <= session.spent.calls == 1 + race.losers.calls <= 2
        assert no_reservations(gateway)


def test_a_retry_without_room_leaves_the_race_to_the_others(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        first = request.sample == 0
        return Behaviour.server_error() if first else Behaviour.slow(0.5)

    with LoopbackServer(script) as server:
        session = open_gateway().session("s", Budget(calls=2))
        calls = replicas(make_call, server, "hello")[:2]
        assert session.first_of(calls).winners == (1,)
        assert server.requests == session.spent.calls == 2
        other = open_gateway().session("s", Budget(calls=2))
        with pytest.raises(BudgetExhausted):
            other.first_of(calls, 2)
        assert server.requests == 4


def no_reservations(gateway: Gateway) -> bool:
    rows = gateway.store._connection.execute("SELECT COUNT(*) FROM flights").fetchone()
    return bool(rows == (0,))


ENDINGS: dict[str, tuple[Callable[[Session], None], Budget, type[BaseException]]] = {
    "stop": (Session.stop, Budget(usd=9), BudgetExhausted),
    "seconds": (
        lambda session: session.protect(seconds=600), Budget(usd=9, seconds=600), BudgetExhausted
    ),
    "ctrl-C": (
        lambda _session: os.kill(os.getpid(), signal.SIGINT), Budget(usd=9), KeyboardInterrupt
    ),
}  # fmt: skip


@pytest.mark.parametrize(("end", "budget", "error"), list(ENDINGS.values()), ids=list(ENDINGS))
def test_a_race_that_is_ended_ends_all_of_its_calls_and_settles_them(
    make_call: MakeCall, open_gateway: OpenGateway,
    end: Callable[[Session], None], budget: Budget, error: type[BaseException],
) -> None:  # fmt: skip
    """Three at the provider, one waiting to try again, and one that another thread makes."""
    over = threading.Event()
    stumbles = Behaviour(status=503, headers={"Retry-After": "30"})

    def script(request: LoopbackRequest) -> Behaviour:
        if over.is_set() or request.index == 0:
            over.wait(30)
            return Behaviour()
        return stumbles if request.sample == 3 else Behaviour.slow(30)

    with LoopbackServer(script, prices=PRICES) as server, ThreadPoolExecutor(2) as pool:
        gateway = open_gateway()
        calls = replicas(make_call, server, "hello")
        elsewhere = pool.submit(gateway.session("other").complete, calls[4])
        until(lambda: server.requests == 1)
        session = gateway.session("s", budget)

        def end_it_under_way() -> None:
            until(lambda: server.requests == 5 and session.spent.calls == 1)
            end(session)

        pool.submit(end_it_under_way)
        started = time.monotonic()
        with pytest.raises(error):
            session.first_of(calls, 2)
        assert time.monotonic() - started < 10
        until(lambda: server.meter.abandoned == 3)
        assert session.spent.calls == 4
        assert session.spent.usd == pytest.approx(worst(calls[:3]))
        over.set()
        assert elsewhere.result().text == "hello"
        assert no_reservations(gateway)
        again = gateway.session("s")
        assert len(again.first_of(calls[:2]).winners) == 1, "nothing is left in the way"


RACING = textwrap.dedent(
    """
    import sys
    from pipelines.gateway.call import LMCall
    from pipelines.gateway.gateway import Gateway
    from pipelines.gateway.model import Model

    def replicas(url):
        model = Model("openai/tiny", api_base=url, input_usd_per_million=50,
                      output_usd_per_million=200, max_tokens=64)
        return [LMCall(model, ({"role": "user", "content": "hello"},), sample=i) for i in range(5)]

    if __name__ == "__main__":
        Gateway(sys.argv[2]).session("study").first_of(replicas(sys.argv[1]), 2)
    """
)


def test_a_race_that_is_killed_is_charged_at_its_worst_and_held_again(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path, repository: Path
) -> None:
    dead = threading.Event()

    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour() if dead.is_set() or request.sample == 1 else Behaviour.hang()

    with LoopbackServer(script, prices=PRICES) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", RACING, server.url, str(cache)], cwd=repository
        )
        until(lambda: server.requests == REPLICAS)
        alive = open_gateway(cache).session("study")
        until(lambda: alive.spent.calls == 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: server.meter.in_flight == 0)
        dead.set()
        calls = replicas(make_call, server, "hello")
        session = open_gateway(cache).session("study", Budget(usd=9))
        lost = [call for call in calls if call.sample != 1]
        assert session.spent.calls == REPLICAS
        assert session.spent.usd == pytest.approx(alive.complete(calls[1]).usd + worst(lost))
        race = session.first_of(calls, 2)
        assert len(race.winners) == 2
        assert server.requests <= session.spent.calls <= REPLICAS + len(lost)
        until(lambda: server.meter.in_flight == 0)
        assert server.usd <= session.spent.usd


def test_who_waits_for_a_race_in_another_process_holds_it_when_that_dies(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path, repository: Path
) -> None:
    dead = threading.Event()

    def script(_request: LoopbackRequest) -> Behaviour:
        return Behaviour() if dead.is_set() else Behaviour.hang()

    with LoopbackServer(script, prices=PRICES) as server, ThreadPoolExecutor(1) as pool:
        process = subprocess.Popen(
            [sys.executable, "-c", RACING, server.url, str(cache)], cwd=repository
        )
        until(lambda: server.requests == REPLICAS)
        session = open_gateway(cache).session("other")
        waiting = pool.submit(session.first_of, replicas(make_call, server, "hello"), 2)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        assert server.requests == REPLICAS
        dead.set()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(waiting.result(timeout=20).winners) == 2
