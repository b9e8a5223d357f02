"""Waiting in the gateway: for a provider's rate, for a retry, for each other; and being stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from unittest.mock import patch

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price
from pipelines.gateway.budget import Budget, Spend
from pipelines.gateway.call import BudgetExhausted, LMCall, LMReply
from pipelines.gateway.concurrency.limits import Limit
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.session import Left
from pipelines.providers import price_of
from pipelines.providers.openai_server import OpenAIServer
from tests.pipelines.gateway.waiting import until

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]
PROMPT_S = 30.0
"""Whoever waits looks every tenth of a second, and less often on a busy machine."""


def refusals(waiting: list[Future[LMReply]]) -> list[str]:
    return [str(future.exception(timeout=PROMPT_S)) for future in waiting]


class Held:
    """A script that answers nobody until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def __call__(self, _request: LoopbackRequest) -> Behaviour:
        assert self.released.wait(30)
        return Behaviour()


def test_a_rate_limit_spaces_the_calls(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer() as server, ThreadPoolExecutor(8) as pool:
        limits = {server.url: Limit(requests_per_minute=60 / 0.1)}
        session = open_gateway(limits=limits).session("s")
        started = time.monotonic()
        list(pool.map(session.complete, [make_call(server, f"{i}") for i in range(6)]))
        assert time.monotonic() - started >= 0.5


def test_a_limit_on_concurrency_is_kept(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer(Behaviour.slow(0.05)) as server, ThreadPoolExecutor(16) as pool:
        session = open_gateway(limits={server.url: Limit(concurrency=3)}).session("s")
        list(pool.map(session.complete, [make_call(server, f"{i}") for i in range(16)]))
        assert server.meter.peak_in_flight == 3


@pytest.mark.parametrize(
    "limit", [Limit(requests_per_minute=1), Limit(concurrency=1)], ids=["rate", "concurrency"]
)
def test_who_queues_for_a_provider_is_stopped_at_once_and_pays_nothing(
    make_call: MakeCall, open_gateway: OpenGateway, limit: Limit
) -> None:
    held = Held()
    with LoopbackServer(held) as server, ThreadPoolExecutor(16) as pool:
        session = open_gateway(limits={server.url: limit}).session("s")
        first = pool.submit(session.complete, make_call(server, "first"))
        until(lambda: server.meter.in_flight == 1)
        queue = [pool.submit(session.complete, make_call(server, f"{i}")) for i in range(15)]
        time.sleep(0.2)
        session.stop()
        assert refusals(queue) == ["the run was stopped"] * 15
        held.released.set()
        assert first.result().text == "first"
        assert server.requests == session.spent.calls == 1


def test_who_waits_to_retry_is_stopped_at_once(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(Behaviour.rate_limited(60)) as server, ThreadPoolExecutor(8) as pool:
        session = open_gateway().session("s")
        waiting = [pool.submit(session.complete, make_call(server, f"{i}")) for i in range(8)]
        until(lambda: session.spent.calls > 0)
        session.stop()
        assert set(refusals(waiting)) == {"the run was stopped"}


def test_who_waits_for_the_same_call_is_stopped_at_once(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    held = Held()
    with LoopbackServer(held) as server, ThreadPoolExecutor(8) as pool:
        gateway = open_gateway()
        paying, waiting = gateway.session("one"), gateway.session("other")
        first = pool.submit(paying.complete, make_call(server))
        until(lambda: server.meter.in_flight == 1)
        others = [pool.submit(waiting.complete, make_call(server)) for _ in range(7)]
        waiting.stop()
        assert set(refusals(others)) == {"the run was stopped"}
        held.released.set()
        assert first.result().text == "hello"


def test_a_stopped_session_answers_nothing(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer() as server:
        session = open_gateway().session("s")
        session.complete(make_call(server))
        session.stop()
        for text in ("hello", "new"):
            with pytest.raises(BudgetExhausted, match="stopped"):
                session.complete(make_call(server, text))
        assert server.requests == 1


def test_nobody_waits_beyond_the_seconds_of_the_budget(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    def refused(session: Session, text: str) -> bool:
        with pytest.raises(BudgetExhausted, match="seconds is used up"):
            session.complete(make_call(server, text))
        return True

    with LoopbackServer([Behaviour.rate_limited(60)]) as server, ThreadPoolExecutor(2) as pool:
        session = open_gateway().session("s", Budget(seconds=0.5))
        started = time.monotonic()
        retrying = pool.submit(refused, session, "retries")
        until(lambda: session.spent.calls == 1)
        time.sleep(0.05)  # by now it has told the others
        assert refused(session, "queues")
        assert retrying.result()
        assert time.monotonic() - started > 0.4
        assert server.requests == session.spent.calls == 1


def test_a_call_that_ctrl_c_ends_is_charged_at_its_worst_and_made_again(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.slow(30) if request.index == 0 else Behaviour()

    def interrupt() -> None:
        until(lambda: server.requests == 1)
        os.kill(os.getpid(), signal.SIGINT)

    with LoopbackServer(script) as server, ThreadPoolExecutor(1) as pool:
        session = open_gateway().session("s", Budget(usd=1))
        call = make_call(server)
        pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            session.complete(call)
        assert session.spent.calls == 1
        assert session.spent.usd == pytest.approx(price_of(call.model).worst_usd(call))
        assert session.in_flight == 0
        assert pool.submit(session.complete, call).result(timeout=5).text == "hello"
        assert server.requests == session.spent.calls == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_what_a_provider_raises_ends_its_call_alone(
    make_call: MakeCall, open_gateway: OpenGateway, error: type[BaseException]
) -> None:
    with LoopbackServer() as server:
        session = open_gateway().session("s", Budget(usd=1))
        failing = patch.object(OpenAIServer, "send", side_effect=error)
        with failing, pytest.raises(error):
            session.complete(make_call(server))
        assert (session.spent.calls, server.requests) == (1, 0), "whether it was sent is unknown"
        assert session.complete(make_call(server)).text == "hello"


def test_nominal_spend_is_the_same_in_any_order(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    """Sums of floats would differ in the last digit, and a search with them."""
    with LoopbackServer(
        prices={"tiny": Price(2.0, 8.0)},
        reply=lambda messages, _: "x" * int(messages[0]["content"]),
    ) as server:
        gateway = open_gateway()
        calls = [make_call(server, f"{7 * i}", max_tokens=999) for i in range(40)]
        spends: list[tuple[Spend, Left]] = []
        for order in (calls, calls[::-1], calls[20:] + calls[:20]):
            session = gateway.session(f"{len(spends)}", Budget(usd=1, calls=100))
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(session.complete, order))
            spends.append((session.nominal, session.nominal_left()))
        assert spends[0] == spends[1] == spends[2]
        assert spends[0][0].calls == 40
        assert spends[0][0].usd == pytest.approx(server.usd)


def test_what_is_protected_is_not_left(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer() as server:
        session = open_gateway().session("s", Budget(usd=2, calls=10))
        session.complete(make_call(server))
        session.protect(usd=0.5, calls=4)
        left = session.nominal_left()
        assert left.calls == 10 - 4 - 1
        assert left.usd == pytest.approx(2 - 0.5 - session.nominal.usd)
