"""Races: who wins, what is kept, what the losers cost, and when they are let go."""

from __future__ import annotations

import asyncio
import json
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price, Script, sample_of
from pipelines.gateway.budget import Budget, PurposeSpend
from pipelines.gateway.call import CallFailed, LMCall, LMReply
from pipelines.gateway.concurrency.limits import Limit, ProviderGate
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers import price_of
from tests.launching import run_python
from tests.pipelines.gateway.waiting import until

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]

PRICES = {"tiny": Price(2.0, 8.0)}
FOREVER = 30.0
"""Seconds; a test that waited for such a reply would be too late."""
PROMPT_S = 3.0


def delays(*seconds: float) -> Script:
    """How long each sample takes, by its index."""

    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.slow(seconds[request.sample])

    return script


def by_sample(*behaviours: Behaviour) -> Script:
    return lambda request: behaviours[request.sample]


def samples(make_call: MakeCall, server: LoopbackServer, count: int) -> list[LMCall]:
    return [make_call(server, sample=sample) for sample in range(count)]


def whole(reply: LMReply) -> PurposeSpend:
    return PurposeSpend(reply.usd, 1, reply.input_tokens, reply.output_tokens)


def worst(call: LMCall) -> float:
    return price_of(call.model).worst_usd(call)


def said(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    return f"sample {sample_of(messages, params)}"


def test_the_fastest_counts_and_the_others_are_disconnected(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    script = delays(FOREVER, FOREVER, 0.3, FOREVER, FOREVER)
    with LoopbackServer(script, reply=said, prices=PRICES) as server:
        session = open_gateway().session("s", Budget(usd=1))
        started = time.monotonic()
        race = session.first_of(samples(make_call, server, 5))
        assert time.monotonic() - started < PROMPT_S
        assert race.winners == (2,)
        assert [reply.text for reply in race.replies] == ["sample 2"]
        until(lambda: server.meter.in_flight == 0)
        assert (server.requests, server.meter.abandoned) == (5, 4)
        assert session.spent.calls == session.nominal.calls == 5


def test_losers_that_litellm_asks_are_disconnected_and_charged_alike(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(delays(FOREVER, 0.3, FOREVER), prices=PRICES) as server:
        calls = [
            replace(call, model=replace(call.model, name="together_ai/tiny"))
            for call in samples(make_call, server, 3)
        ]
        session = open_gateway().session("s", Budget(usd=1))
        race = session.first_of(calls)
        assert race.winners == (1,)
        until(lambda: server.meter.abandoned == 2)
        assert race.losers.usd == pytest.approx(worst(calls[0]) + worst(calls[2]))
        assert session.spent.usd == pytest.approx(race.cost.usd)


def test_the_winners_are_in_the_order_of_finishing(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    order = (2, 3, 0)

    def script(request: LoopbackRequest) -> Behaviour:
        seed = request.sample
        if seed not in order:
            return Behaviour.hang()
        until(lambda: session.spent.calls == order.index(seed))
        return Behaviour()

    with LoopbackServer(script, reply=said) as server:
        session = open_gateway().session("s")
        race = session.first_of(samples(make_call, server, 5), 3)
        assert race.winners == order
        assert [reply.text for reply in race.replies] == ["sample 2", "sample 3", "sample 0"]
        assert race.latency_s == max(reply.latency_s for reply in race.replies)
        until(lambda: server.meter.abandoned == 2)


def test_a_race_that_all_may_finish_has_no_losers(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(prices=PRICES) as server:
        session = open_gateway().session("s")
        race = session.first_of(samples(make_call, server, 3), 3)
        assert sorted(race.winners) == [0, 1, 2]
        assert race.losers == PurposeSpend()
        assert session.spent.usd == pytest.approx(server.usd) == session.nominal.usd
        assert server.meter.abandoned == 0


def test_who_is_cut_off_is_charged_in_full_unless_told_otherwise(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(delays(FOREVER, 0.1, FOREVER), prices=PRICES) as server:
        session = open_gateway().session("s", Budget(usd=1))
        calls = samples(make_call, server, 3)
        race = session.first_of(calls)
        assert race.losers.usd == pytest.approx(worst(calls[0]) + worst(calls[2]))
        assert race.losers.calls == 2
        assert session.spent.usd == pytest.approx(race.replies[0].usd + race.losers.usd)
        assert session.nominal == session.spent
        assert server.usd <= session.spent.usd


def test_who_is_cut_off_is_charged_as_much_as_the_winner_wrote_where_that_is_so(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(
        delays(1.0, 0.5, 2.0), prices=PRICES, reply=lambda *_: "x" * 200, bills_abandoned=False
    ) as server:
        limits = {server.url: Limit(bills_cancelled=False)}
        session = open_gateway(limits=limits).session("s", Budget(usd=1))
        race = session.first_of(samples(make_call, server, 3))
        until(lambda: server.meter.in_flight == 0)
        winner = race.replies[0]
        assert race.losers == PurposeSpend(
            2 * winner.usd, 2, 2 * winner.input_tokens, 2 * winner.output_tokens
        )
        assert winner.usd < server.usd < session.spent.usd == pytest.approx(3 * winner.usd)
        assert session.nominal == session.spent


@pytest.mark.parametrize("in_full", [True, False])
def test_a_close_finish_is_accounted_to_the_cent(
    make_call: MakeCall, open_gateway: OpenGateway, in_full: bool
) -> None:
    """Losers that finish, are cut off, or never start: the race says what the account says."""
    with LoopbackServer(Behaviour.slow(0.1), prices=PRICES, bills_abandoned=in_full) as server:
        limit = Limit(concurrency=20, bills_cancelled=in_full)
        session = open_gateway(limits={server.url: limit}).session("s", Budget(usd=1))
        with ThreadPoolExecutor(16) as pool:
            races = pool.map(
                lambda i: session.first_of([make_call(server, f"{i}", sample=j) for j in range(5)]),
                range(16),
            )
            costs = [race.cost for race in races]
        until(lambda: server.meter.in_flight == 0)
        assert same(session.spent.by_purpose["task"], costs)
        assert session.spent.calls == sum(cost.calls for cost in costs) >= server.requests
        assert session.spent.usd >= server.usd
        assert session.nominal.usd == pytest.approx(session.spent.usd)


def test_who_loses_to_another_model_is_charged_in_full(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(delays(0.1, FOREVER)) as server:
        limits = {server.url: Limit(bills_cancelled=False)}
        session = open_gateway(limits=limits).session("s")
        fast, slow = samples(make_call, server, 2)
        slow = replace(slow, model=replace(slow.model, name="openai/small"))
        race = session.first_of([fast, slow])
        assert race.winners == (0,)
        assert race.lost[0] == PurposeSpend()
        assert race.lost[1].usd == race.losers.usd == pytest.approx(worst(slow))


def test_a_race_is_held_once(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:  # fmt: skip
    with LoopbackServer(delays(FOREVER, 0.1, FOREVER), prices=PRICES) as server:
        first = open_gateway(cache).session("one")
        held = first.first_of(samples(make_call, server, 3))
        second = open_gateway(cache).session("two")
        found = [second.first_of(samples(make_call, server, 3)) for _ in range(2)]
        assert server.requests == 3
    assert [reply.cached for reply in (*held.replies, *found[0].replies)] == [False, True]
    assert found[0] == found[1]
    assert (found[0].winners, found[0].lost) == (held.winners, held.lost)
    assert found[0].latency_s == held.latency_s
    assert second.spent.calls == 0
    assert second.nominal == first.nominal


def test_another_process_finds_the_race_without_litellm(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with LoopbackServer(delays(FOREVER, 0.1), reply=said) as server:
        calls = samples(make_call, server, 2)
        open_gateway(cache).session("s").first_of(calls)
    code = textwrap.dedent(
        f"""
        import sys
        from pipelines.gateway.call import LMCall
        from pipelines.gateway.gateway import Gateway
        from pipelines.gateway.model import Model

        model = Model("openai/tiny", api_base={calls[0].model.api_base!r},
                      input_usd_per_million=2, output_usd_per_million=8, max_tokens=64)
        calls = [LMCall(model, ({{"role": "user", "content": "hello"}},), sample=sample)
                 for sample in range(2)]
        race = Gateway({str(cache)!r}).session("t").first_of(calls)
        print(race.winners, race.replies[0].text, "litellm" in sys.modules)
        """
    )
    ran = run_python("-c", code)
    assert ran.stdout.strip() == "(1,) sample 1 False", ran.stderr


def test_what_is_raced_for_and_the_order_make_another_race(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer() as server:
        session = open_gateway().session("s")
        calls = samples(make_call, server, 3)
        for order, count in ((calls, 3), (calls[::-1], 3), (calls, 2), (calls[:2], 2)):
            session.first_of(order, count)
        assert session.nominal.calls == 3 + 3 + 3 + 2
        assert server.requests == session.spent.calls == 3, "their replies were there"


def test_a_winner_is_an_ordinary_reply_and_a_loser_is_none(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    over = threading.Event()

    def script(request: LoopbackRequest) -> Behaviour:
        loses = request.sample >= 2 and not over.is_set()
        return Behaviour.hang() if loses else Behaviour()

    with LoopbackServer(script, reply=said) as server:
        session = open_gateway().session("s")
        calls = samples(make_call, server, 4)
        race = session.first_of(calls, 2)
        over.set()
        before = server.requests
        replies = [session.complete(call) for call in calls]
        assert [i for i, reply in enumerate(replies) if reply.cached] == sorted(race.winners)
        assert server.requests >= before + 2  # a loser of the race may still arrive


def test_calls_that_are_all_recorded_race_by_their_recorded_latencies(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(delays(0.5, 0.1, 0.3), prices=PRICES) as server:
        session = open_gateway().session("s")
        calls = samples(make_call, server, 3)
        replies = [session.complete(call) for call in calls]
        before = session.spent
        race = session.first_of(calls, 2)
        assert race.winners == (1, 2)
        assert race.losers == whole(replies[0])
        assert (session.spent, server.requests) == (before, 3)
        assert session.nominal.calls == 3 + 3


def test_a_recorded_call_counts_from_when_it_would_have_come(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(delays(1.2, 0.1, FOREVER), prices=PRICES) as server:
        session = open_gateway().session("s")
        calls = samples(make_call, server, 3)
        session.complete(calls[0])
        started = time.monotonic()
        race = session.first_of(calls, 2)
        assert 1.2 <= time.monotonic() - started < PROMPT_S
        assert race.winners == (1, 0)
        assert [reply.cached for reply in race.replies] == [False, True]
        assert server.requests == 3
        until(lambda: server.meter.abandoned == 1)


TROUBLES = {
    "429": (Behaviour.rate_limited(), "rate_limited"),
    "500": (Behaviour.server_error(500), "server_error"),
    "a page of HTML with 502": (Behaviour.html(502), "server_error"),
    "a page of HTML with 200": (Behaviour.html(), "malformed_response"),
    "JSON that breaks off": (Behaviour.malformed_json(), "malformed_response"),
    "no choices": (Behaviour.empty_choices(), "malformed_response"),
    "a reset": (Behaviour.reset(), "connection"),
    "no answer in time": (Behaviour.hang(), "timeout"),
    "a bad request": (Behaviour(status=400), "bad_request"),
    "a wrong key": (Behaviour(status=401), "authentication"),
    "an empty account": (Behaviour(status=402), "quota"),
}


@pytest.mark.parametrize(("trouble", "kind"), list(TROUBLES.values()), ids=list(TROUBLES))
def test_trouble_means_in_a_race_what_it_means_for_any_call(
    make_call: MakeCall, open_gateway: OpenGateway, trouble: Behaviour, kind: str
) -> None:
    with LoopbackServer(trouble, prices=PRICES) as server:
        gateway = open_gateway(timeout_s=0.5, retries=1)
        one, other = (gateway.session(name, Budget(usd=1)) for name in ("one", "other"))
        call = make_call(server)
        with pytest.raises(CallFailed) as plain:
            one.complete(call)
        with pytest.raises(CallFailed) as raced:
            other.first_of([call])
        assert (raced.value.kind, raced.value.attempts) == (kind, plain.value.attempts)
        assert raced.value.retryable == plain.value.retryable
        assert other.spent.usd == pytest.approx(one.spent.usd)
        assert other.spent.calls == one.spent.calls == plain.value.attempts
        assert server.requests == 2 * plain.value.attempts
        assert other.nominal.calls == 0


def test_nobody_listens_on_the_port(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer() as server:
        call = make_call(server)
    session = open_gateway(outage_s=0.2).session("s", Budget(usd=1))
    with pytest.raises(CallFailed, match="no connection to http:") as raced:
        session.first_of([call])
    assert (raced.value.kind, raced.value.billed) == ("set_aside", False)
    assert (session.spent.calls, session.spent.usd) == (0, 0)


def test_who_stumbles_tries_again_and_may_still_win(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    stumbled: set[int] = set()

    def script(request: LoopbackRequest) -> Behaviour:
        seed = request.sample
        if seed == 0:
            return Behaviour.slow(FOREVER)
        known = seed in stumbled
        stumbled.add(seed)
        return Behaviour() if known else Behaviour.server_error(503)

    with LoopbackServer(script) as server:
        session = open_gateway().session("s")
        race = session.first_of(samples(make_call, server, 2))
        assert race.winners == (1,)
        assert session.spent.calls == server.requests == 3
        assert session.nominal.calls == 2


def test_who_waits_to_try_again_is_let_go_when_the_race_is_over(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        until(lambda: server.requests == 2)  # who is not sent yet would wait, too
        return Behaviour.slow(0.5) if request.sample else limited

    limited = Behaviour.rate_limited(retry_after=FOREVER)
    with LoopbackServer(script) as server:
        session = open_gateway().session("s")
        started = time.monotonic()
        race = session.first_of(samples(make_call, server, 2))
        assert time.monotonic() - started < PROMPT_S
        assert (race.winners, race.losers) == ((1,), PurposeSpend())
        assert session.spent.calls == server.requests == 2


def test_a_race_that_too_many_leave_fails_and_is_not_recorded(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    troubles = by_sample(Behaviour(status=400), Behaviour.hang(), Behaviour(status=422))
    mended = False
    with LoopbackServer(lambda r: Behaviour() if mended else troubles(r)) as server:  # type: ignore[operator]
        session = open_gateway().session("s", Budget(usd=1))
        calls = samples(make_call, server, 3)
        with pytest.raises(CallFailed) as caught:
            session.first_of(calls, 2)
        assert caught.value.kind == "bad_request"
        until(lambda: server.meter.abandoned == 1)
        assert session.spent.usd == pytest.approx(worst(calls[1]))
        assert session.nominal.calls == 0
        mended = True
        assert len(session.first_of(calls, 2).winners) == 2


def test_a_model_without_a_price_has_failed_before_anything_is_reserved(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer() as server:
        good, bad = samples(make_call, server, 2)
        bad = replace(bad, model=Model("openai/nobody-knows-it", api_base=server.url))
        session = open_gateway().session("s")
        with pytest.raises(CallFailed, match="no price is known"):
            session.first_of([good, bad], 2)
        assert session.spent.calls == server.requests == 0
        race = session.first_of([bad, good])
        assert (race.winners, race.losers) == ((1,), PurposeSpend())
        assert session.spent.calls == server.requests == 1


def test_who_is_cut_off_before_it_is_sent_costs_nothing(
    make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = ProviderGate.enter
    late = iter((False, True))

    async def held_up(gate: ProviderGate, check: Callable[[], None]) -> None:
        if next(late):
            await asyncio.sleep(FOREVER)
        await enter(gate, check)

    monkeypatch.setattr(ProviderGate, "enter", held_up)
    with LoopbackServer() as server:
        session = open_gateway().session("s")
        race = session.first_of(samples(make_call, server, 2))
        assert (race.winners, race.losers) == ((0,), PurposeSpend())
        assert session.spent.calls == server.requests == 1


def test_the_same_race_asked_16_times_at_once_is_paid_once(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(delays(FOREVER, 0.4, FOREVER)) as server:
        session = open_gateway().session("s", Budget(calls=3))
        calls = samples(make_call, server, 3)
        with ThreadPoolExecutor(16) as pool:
            races = list(pool.map(lambda _: session.first_of(calls), range(16)))
        assert {race.winners for race in races} == {(1,)}
        assert server.requests == session.spent.calls == session.nominal.calls == 3


def test_two_gateways_on_one_folder_pay_a_race_once(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with LoopbackServer(delays(FOREVER, 0.4, FOREVER)) as server:
        sessions = [open_gateway(cache).session(f"{i}") for i in range(2)]
        calls = samples(make_call, server, 3)
        with ThreadPoolExecutor(2) as pool:
            races = list(pool.map(lambda session: session.first_of(calls), sessions))
        assert [race.winners for race in races] == [(1,), (1,)]
        assert server.requests == 3
        assert sorted(session.spent.calls for session in sessions) == [0, 3]


def test_races_and_calls_that_share_a_call_pay_it_once(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(delays(0.5, 0.5, 0.5), reply=said) as server:
        session = open_gateway().session("s")
        one, two, three = samples(make_call, server, 3)
        with ThreadPoolExecutor(3) as pool:
            races = [
                pool.submit(session.first_of, calls, 2) for calls in ([one, two], [two, three])
            ]
            assert pool.submit(session.complete, two).result().text == "sample 1"
            assert all(len(race.result().winners) == 2 for race in races)
        assert server.requests == session.spent.calls == 3


def test_who_waits_for_a_call_that_is_cut_off_makes_it(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.slow(0.5 if request.sample or request.index > 1 else FOREVER)

    with LoopbackServer(script, reply=said) as server:
        session = open_gateway().session("s")
        slow, fast = samples(make_call, server, 2)
        with ThreadPoolExecutor(2) as pool:
            race = pool.submit(session.first_of, [slow, fast])
            until(lambda: server.requests == 2)
            waiting = pool.submit(session.complete, slow)
            assert race.result().winners == (1,)
            assert waiting.result().text == "sample 0"
        assert (server.requests, server.meter.abandoned) == (3, 1)


@pytest.mark.parametrize("count", [0, 3])
def test_a_race_for_more_than_there_are_is_refused(
    make_call: MakeCall, open_gateway: OpenGateway, count: int
) -> None:
    with LoopbackServer() as server, pytest.raises(ValueError, match=f"count={count} of 2 calls"):
        open_gateway().session("s").first_of(samples(make_call, server, 2), count)


def test_equal_calls_and_mixed_purposes_are_refused(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer() as server:
        call = make_call(server)
        session = open_gateway().session("s")
        with pytest.raises(ValueError, match="two are equal"):
            session.first_of([call, replace(call, purpose="judge")])
        with pytest.raises(ValueError, match=r"\['judge', 'task'\]"):
            session.first_of([call, replace(call, purpose="judge", sample=1)])


# Virtual latency: simulated models answer at once, with the latency of what they imitate.

SIM = [Model("sim/hazel"), Model("sim/alder")]


def simulated() -> list[LMCall]:
    messages = ({"role": "user", "content": "What is 17 times 23?"},)
    return [LMCall(model, messages, sample=sample) for sample in range(4) for model in SIM]


def share_at(moment: float, reply: LMReply, call: LMCall) -> PurposeSpend:
    """What was written by then, from the list prices."""
    price = price_of(call.model)
    written = round(reply.output_tokens * min(1.0, moment / reply.latency_s))
    usd = reply.input_tokens * price.input_usd + written * price.output_usd
    return PurposeSpend(usd, 1, reply.input_tokens, written)


def same(one: PurposeSpend, parts: Sequence[PurposeSpend]) -> bool:
    usd = sum(part.usd for part in parts)
    tokens = sum(part.input_tokens for part in parts), sum(part.output_tokens for part in parts)
    return one.usd == pytest.approx(usd) and (one.input_tokens, one.output_tokens) == tokens


def partly_billed() -> dict[str, Limit]:
    return {"sim": Limit(bills_cancelled=False)}


@pytest.mark.parametrize("count", [1, 3])
def test_the_lowest_reported_latencies_win_and_losers_cost_what_they_had_written(
    open_gateway: OpenGateway, count: int
) -> None:
    calls = simulated()
    replies = [open_gateway().session("alone").complete(call) for call in calls]
    order = sorted(range(len(calls)), key=lambda place: replies[place].latency_s)
    gateway = open_gateway(limits=partly_billed())
    session = gateway.session("s", Budget(usd=1))
    race = session.first_of(calls, count)
    assert race.winners == tuple(order[:count])
    assert [reply.text for reply in race.replies] == [replies[i].text for i in order[:count]]
    moment = replies[order[count - 1]].latency_s
    assert race.latency_s == moment
    assert same(race.losers, [share_at(moment, replies[i], calls[i]) for i in order[count:]])
    assert session.spent.usd == pytest.approx(race.cost.usd)
    assert session.spent.output_tokens == race.cost.output_tokens
    assert session.spent.calls == len(calls)
    assert session.nominal.usd == pytest.approx(session.spent.usd)
    other = gateway.session("other")
    assert all(other.complete(call).cached for call in calls)


def test_losers_that_were_not_really_cut_off_cost_all_they_wrote(
    open_gateway: OpenGateway,
) -> None:
    calls = simulated()
    alone = open_gateway().session("alone")
    replies = [alone.complete(call) for call in calls]
    session = open_gateway().session("s", Budget(usd=1))
    race = session.first_of(calls)
    losers = [whole(reply) for i, reply in enumerate(replies) if i not in race.winners]
    assert same(race.losers, losers)
    assert session.spent.usd == pytest.approx(alone.spent.usd) == session.nominal.usd


@pytest.mark.parametrize("known", [1, 4, 8], ids=["one", "half", "all"])
@pytest.mark.parametrize("limits", [{}, partly_billed()], ids=["in full", "in part"])
def test_what_was_recorded_before_does_not_change_a_virtual_race(
    open_gateway: OpenGateway, known: int, limits: dict[str, Limit]
) -> None:
    calls = simulated()
    fresh = open_gateway(limits=limits).session("s")
    expected = fresh.first_of(calls, 2)
    gateway = open_gateway(limits=limits)
    for call in calls[:known]:
        gateway.session("vote").complete(call)
    session = gateway.session("s")
    race = session.first_of(calls, 2)
    assert (race.winners, race.losers) == (expected.winners, expected.losers)
    assert [reply.text for reply in race.replies] == [reply.text for reply in expected.replies]
    assert session.nominal == fresh.nominal
    assert session.spent.calls == len(calls) - known


def test_virtual_races_end_alike_however_many_run_at_once(open_gateway: OpenGateway) -> None:
    def question(i: int) -> list[LMCall]:
        messages = ({"role": "user", "content": f"What is {i} times 23?"},)
        return [replace(call, messages=messages) for call in simulated()]

    outcomes = []
    for threads, places in ((1, 64), (16, 64), (16, 1)):
        limits = {"sim": Limit(concurrency=places, bills_cancelled=False)}
        session = open_gateway(limits=limits).session("s")
        with ThreadPoolExecutor(threads) as pool:
            asked = pool.map(session.complete, (question(i)[0] for i in range(8)))
            races = list(pool.map(session.first_of, map(question, range(16))))
            assert all(reply.text for reply in asked)
        outcomes.append(([race.winners for race in races], session.nominal))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_of_equal_reported_latencies_the_earlier_call_wins(
    open_gateway: OpenGateway, tmp_path: Path
) -> None:
    """Recordings hold no times. A second sample of a recorded answer is an error."""
    texts = {f"m{i}": {"text": f"m{i} says (A).", "parsed": "A"} for i in range(12)}
    line = {"id": 1, "category": "", "question": "Why?", "options": ["so"], "answer": "A"}
    path = tmp_path / "recording.jsonl"
    path.write_text(json.dumps({**line, "responses": texts}))
    messages = ({"role": "user", "content": "Why?\nA. so"},)
    calls = [
        LMCall(
            Model(f"recorded/{name}", input_usd_per_million=1, output_usd_per_million=1,
                  params={"recording": str(path)}),
            messages, sample=int(name == "m0"),
        )
        for name in texts
    ]  # fmt: skip
    for _ in range(10):
        session = open_gateway().session("s")
        race = session.first_of(calls, 2)
        assert race.winners == (1, 2)
        assert (race.latency_s, race.losers.calls) == (0.0, 9)


def test_a_place_at_a_time_is_enough_for_a_virtual_race(open_gateway: OpenGateway) -> None:
    session = open_gateway(limits={"sim": Limit(concurrency=1)}).session("s")
    assert len(session.first_of(simulated(), 2).winners) == 2
