"""Real spend never passes a cap, by the count of the server that charges."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.storage.store import Claim
from pipelines.providers import price_of
from tests.pipelines.gateway.caps import UNSHRUNK, bytes_as_tokens, troubled

IN_FLIGHT = 64
MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]


def outcome(session: Session, call: LMCall) -> str:
    try:
        session.complete(call)
    except BudgetExhausted:
        return "no room"
    except CallFailed as failure:
        return failure.kind
    return "answered"


def together(session: Session, calls: Sequence[LMCall]) -> Counter[str]:
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return Counter(pool.map(lambda call: outcome(session, call), calls))


def impatient() -> Gateway:
    return Gateway(None, backoff_s=0.001, retries=2, timeout_s=0.5)


@settings(max_examples=5, phases=UNSHRUNK)
@given(
    share=st.floats(0.05, 1.5),
    price=st.builds(Price, input=st.floats(0, 100), output=st.floats(0.01, 100)),
    longest=st.integers(1, 800),
    reply_length=st.integers(0, 300),
)
def test_dollars_stay_under_the_cap(
    make_call: MakeCall, share: float, price: Price, longest: int, reply_length: int
) -> None:
    with (
        LoopbackServer(
            Behaviour.slow(0.02), prices={"tiny": price}, count_tokens=bytes_as_tokens,
            reply=lambda *_: "ö" * reply_length,
        ) as server,
        closing(Gateway(None)) as gateway,
    ):  # fmt: skip
        calls = [make_call(server, f"{i}" + "ü" * (i * 37 % longest)) for i in range(100)]
        worst = [price_of(call.model).worst_usd(call) for call in calls]
        cap = share * sum(worst)
        session = gateway.session("caps", Budget(usd=cap))
        outcomes = together(session, calls)
        assert server.usd <= cap
        assert session.spent.usd == pytest.approx(server.usd)
        assert session.spent.calls == server.requests == outcomes["answered"]
        if outcomes["no room"]:  # refused because it could have cost too much, not before
            assert session.spent.usd + max(worst) > cap * (1 - 1e-9)


@settings(max_examples=4, phases=UNSHRUNK)
@given(cap=st.integers(1, 100), seed=st.integers(0, 2**16))
def test_calls_stay_under_the_cap_whatever_goes_wrong(
    make_call: MakeCall, cap: int, seed: int
) -> None:
    with LoopbackServer(troubled(seed)) as server, closing(impatient()) as gateway:
        session = gateway.session("caps", Budget(calls=cap))
        together(session, [make_call(server, f"{i}") for i in range(100)])
        assert server.requests == cap == session.spent.calls


@settings(max_examples=4, phases=UNSHRUNK)
@given(share=st.floats(0.1, 1.0), seed=st.integers(0, 2**16))
def test_dollars_stay_under_the_cap_whatever_goes_wrong(
    make_call: MakeCall, share: float, seed: int
) -> None:
    prices = {"tiny": Price(50.0, 200.0)}
    with (
        LoopbackServer(troubled(seed), prices=prices, count_tokens=bytes_as_tokens) as server,
        closing(impatient()) as gateway,
    ):
        calls = [make_call(server, f"{i} " + "x" * (i % 50)) for i in range(100)]
        cap = share * sum(price_of(call.model).worst_usd(call) for call in calls)
        session = gateway.session("caps", Budget(usd=cap))
        together(session, calls)
        assert 0 < server.usd <= session.spent.usd <= cap


def test_64_calls_are_really_in_flight(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    together_there = Barrier(IN_FLIGHT, timeout=300)

    def script(_request: LoopbackRequest) -> Behaviour:
        together_there.wait()
        return Behaviour()

    with LoopbackServer(script) as server:
        session = open_gateway(timeout_s=300).session("caps", Budget(calls=IN_FLIGHT))
        outcomes = together(session, [make_call(server, f"{i}") for i in range(2 * IN_FLIGHT)])
        assert outcomes == {"answered": IN_FLIGHT, "no room": IN_FLIGHT}
        assert server.meter.peak_in_flight == IN_FLIGHT


def with_params(call: LMCall, params: dict[str, Any], where: str) -> LMCall:
    if where == "call":
        return replace(call, params=params)
    return replace(call, model=replace(call.model, params=params))


@pytest.mark.parametrize("where", ["model", "call"])
def test_parameters_are_reserved_for_as_messages_are(make_call: MakeCall, where: str) -> None:
    schema = {"properties": {f"field_{n}": {"type": "string"} for n in range(500)}}
    params = {"response_format": {"type": "json_schema", "json_schema": schema}}
    with LoopbackServer() as server:
        plain = make_call(server)
        more = with_params(plain, params, where).most_input_tokens - plain.most_input_tokens
        assert more >= bytes_as_tokens(json.dumps(params))


def test_what_is_protected_is_left(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer() as server:
        session = open_gateway().session("caps", Budget(calls=30))
        session.protect(calls=10)
        together(session, [make_call(server, f"search {i}") for i in range(60)])
        assert server.requests == 20
        session.protect()
        together(session, [make_call(server, f"holdout {i}") for i in range(60)])
        assert server.requests == 30


def test_a_refusal_under_a_cap_in_calls_alone_names_that_cap(
    make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where calls that were in flight have given their place back since."""
    gateway = open_gateway(None)
    monkeypatch.setattr(gateway.store, "claim", lambda *_: Claim.NO_ROOM)
    with LoopbackServer() as server, pytest.raises(BudgetExhausted, match="0 calls are spent of 1"):
        gateway.session("study", Budget(calls=1)).complete(make_call(server))


def test_no_call_starts_after_the_seconds_are_over(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(Behaviour.slow(0.05)) as server:
        session = open_gateway().session("caps", Budget(seconds=0.3))
        outcomes = [outcome(session, make_call(server, f"{i}")) for i in range(100)]
        assert outcomes[-1] == "no room"
        assert server.requests == outcomes.count("answered") <= 7


def test_what_a_study_spent_before_still_counts(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer() as server:
        gateway = open_gateway()
        together(gateway.session("one", Budget(calls=5)), [make_call(server, "a")])
        again = gateway.session("one", Budget(calls=5))
        together(again, [make_call(server, f"{i}") for i in range(20)])
        assert server.requests == 5
        other = gateway.session("other", Budget(calls=2))
        together(other, [make_call(server, f"other {i}") for i in range(20)])
        assert server.requests == 7
