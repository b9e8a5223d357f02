"""Servers of OpenAI's form differ; what they send is read, or is a failure, and never believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import CallFailed, LMCall, LMReply
from pipelines.gateway.execution.metering import EXCESS
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers import openai_server, price_of

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]

USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}


def completion(usage: Any = USAGE, finish: Any = "stop", **message: Any) -> Behaviour:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return Behaviour(body=json.dumps({"choices": [choice], "usage": usage}))


def answered(make_call: MakeCall, open_gateway: OpenGateway, sent: Behaviour) -> LMReply:
    with LoopbackServer(sent) as server:
        session = open_gateway(retries=0).session("s", Budget(usd=1))
        call = make_call(server)
        reply = session.complete(call)
        most = price_of(call.model).worst_usd(call) * (1 + EXCESS)
        assert 0 <= reply.usd <= most
        assert session.spent.usd == pytest.approx(reply.usd)
        return reply


READ = {
    "parts": ({"content": [{"type": "text", "text": "for"}, {"text": "ty"}]}, "forty"),
    "strings": ({"content": ["for", "ty"]}, "forty"),
    "nothing": ({"content": None}, ""),
    "thoughts alone": ({"content": None, "reasoning_content": "forty"}, "forty"),
    "thoughts and an answer": ({"content": "40", "reasoning_content": "hm"}, "40"),
    "a refusal": ({"content": None, "refusal": "I won't."}, "I won't."),
}


@pytest.mark.parametrize(("message", "text"), READ.values(), ids=list(READ))
def test_content_is_read_in_every_form(
    make_call: MakeCall, open_gateway: OpenGateway, message: dict[str, Any], text: str
) -> None:
    reply = answered(make_call, open_gateway, completion(**message))
    assert reply.text == text
    refused = "refusal" in message
    assert reply.finish_reason == ("content_filter" if refused else "stop")


def test_thoughts_that_were_cut_off_are_no_answer(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    sent = completion(content="", reasoning_content="let me see", finish="length")
    reply = answered(make_call, open_gateway, sent)
    assert (reply.text, reply.finish_reason) == ("", "length")


NO_REPLY = [
    "null", "1", '"text"', "[]", "{}", '{"choices": 1}', '{"choices": {"a": 1}}',
    '{"choices": [1]}', '{"choices": [{"message": 5}]}', '{"choices": [{"message": null}]}',
    '{"choices": [{"message": {"content": 5}}]}', "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("body", NO_REPLY, ids=range(len(NO_REPLY)))
def test_what_is_no_reply_is_a_failure_of_the_infrastructure(
    make_call: MakeCall, open_gateway: OpenGateway, body: str
) -> None:
    with pytest.raises(CallFailed) as caught:
        answered(make_call, open_gateway, Behaviour(body=body))
    assert (caught.value.kind, caught.value.billed) == ("malformed_response", True)


def test_an_error_in_a_choice_is_an_outage_and_not_kept(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    error = {"code": 502, "message": "Upstream overloaded"}
    choice = {"finish_reason": "error", "message": {"content": ""}, "error": error}
    broken = Behaviour(body=json.dumps({"choices": [choice]}))
    with LoopbackServer([broken]) as server:
        session = open_gateway(retries=0).session("s")
        with pytest.raises(CallFailed, match="Upstream overloaded") as caught:
            session.complete(make_call(server))
        assert (caught.value.kind, caught.value.infrastructure) == ("server_error", True)
        assert session.complete(make_call(server)).text == "hello"


counts = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(), st.text(max_size=3),
    st.lists(st.integers(), max_size=1),
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(usage=st.one_of(counts, st.fixed_dictionaries({
    "prompt_tokens": counts, "completion_tokens": counts, "total_tokens": counts,
})))  # fmt: skip
def test_no_usage_is_charged_beyond_what_was_reserved(
    make_call: MakeCall, open_gateway: OpenGateway, usage: Any
) -> None:
    assert answered(make_call, open_gateway, completion(usage, content="forty")).text == "forty"


@pytest.mark.parametrize(
    ("refused", "message", "wants"),
    [
        ("seed", "Unrecognized request argument supplied: seed", None),
        (
            "max_tokens",
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_completion_tokens",
        ),
        ("temperature", "temperature is not supported with this model", None),
    ],
)
def test_a_parameter_that_a_server_refuses_is_sent_once(
    make_call: MakeCall, open_gateway: OpenGateway, refused: str, message: str, wants: str | None
) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        if refused not in request.params:
            seen.append(request.params)
            return Behaviour()
        return Behaviour(status=400, body=json.dumps({"error": {"message": message}}))

    seen: list[Any] = []
    with LoopbackServer(script) as server:
        session = open_gateway(retries=0).session("s")
        for text in ("one", "two"):
            assert session.complete(make_call(server, text, temperature=0.5)).text == text
        assert server.requests == 3  # the first refusal is remembered
        assert session.spent.calls == 2
    if wants:
        assert [params[wants] for params in seen] == [64, 64]


def test_calls_that_are_refused_together_all_go_on(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    told = json.dumps({"error": {"message": "unsupported parameter: seed"}})

    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour(status=400, body=told, latency_s=0.2) if "seed" in request.params else ok

    ok = Behaviour()
    with LoopbackServer(script) as server, ThreadPoolExecutor(8) as pool:
        session = open_gateway(retries=0).session("s")
        calls = [make_call(server, f"{n}") for n in range(8)]
        assert [reply.text for reply in pool.map(session.complete, calls)] == list("01234567")


def test_headers_of_the_users_travel_as_headers(open_gateway: OpenGateway) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        seen.append((request.headers.get("x-team"), "extra_headers" in request.params))
        return Behaviour()

    seen: list[Any] = []
    with LoopbackServer(script) as server:
        model = Model(
            "openai/m", api_base=server.url, input_usd_per_million=1, output_usd_per_million=1,
            params={"extra_headers": {"X-Team": "blue"}},
        )  # fmt: skip
        session = open_gateway().session("s")
        session.complete(LMCall(model, ({"role": "user", "content": "hello"},)))
    assert seen == [("blue", False)]


def test_output_that_can_not_be_is_charged_as_the_most_that_can(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 9_999}
    reply = answered(make_call, open_gateway, completion(usage, content="42"))
    assert (reply.input_tokens, reply.output_tokens) == (9, 64)


def test_a_server_that_bounds_no_output_is_not_asked_without_a_bound(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    told = json.dumps({"error": {"message": "unsupported: max_tokens"}})
    with LoopbackServer(Behaviour(status=400, body=told)) as server:
        with pytest.raises(CallFailed, match="unsupported: max_tokens"):
            open_gateway(retries=0).session("s").complete(make_call(server))
        assert server.requests == 1


def test_a_window_that_no_prompt_fits_into_is_the_settings_fault(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    told = "This model's maximum context length is 2048 tokens, but 2358 were requested."
    body = json.dumps({"object": "error", "message": told, "code": 400})
    with LoopbackServer(Behaviour(status=400, body=body)) as server:
        session = open_gateway(retries=0).session("s")
        with pytest.raises(CallFailed, match=r"max_tokens=\.\.\.") as caught:
            session.complete(make_call(server, max_tokens=2048))
        assert caught.value.infrastructure
        with pytest.raises(CallFailed) as caught:
            session.complete(make_call(server, max_tokens=64))
        assert (caught.value.kind, caught.value.infrastructure) == ("context_window", False)


@pytest.mark.parametrize(
    "told",
    [
        "the request exceeds the available context size (2045 tokens, context size 2048)",
        "request (2100 tokens) exceeds the available context size (2048 tokens), try increasing it",
    ],
)
def test_a_prompt_that_alone_exceeds_the_window_is_too_long_whatever_max_tokens_is(
    make_call: MakeCall, open_gateway: OpenGateway, told: str
) -> None:
    error = {"message": told, "type": "exceed_context_size_error", "code": 400}
    with LoopbackServer(Behaviour(status=400, body=json.dumps({"error": error}))) as server:
        with pytest.raises(CallFailed, match="the prompt alone is too long") as caught:
            open_gateway(retries=0).session("s").complete(make_call(server, max_tokens=2048))
        assert (caught.value.kind, caught.value.infrastructure) == ("context_window", False)


def test_a_key_in_no_header_reads_local_trouble_as_not_sent(open_gateway: OpenGateway) -> None:
    model = Model(
        "openai/m", api_base="http://127.0.0.1:1:1/v1", input_usd_per_million=1,
        output_usd_per_million=1,
    )  # fmt: skip
    session = open_gateway(retries=0).session("s", Budget(usd=1))
    with pytest.raises(CallFailed) as caught:
        session.complete(LMCall(model, ({"role": "user", "content": "hello"},)))
    assert (caught.value.kind, caught.value.sent) == ("not_sent", False)
    assert session.spent.calls == 0


def test_priced_as_the_server_prices(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer(prices={"tiny": Price(2.0, 8.0)}) as server:
        session = open_gateway().session("s")
        session.complete(make_call(server))
        assert session.spent.usd == pytest.approx(server.usd)


def test_a_body_without_end_is_given_up(
    make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_server, "_MOST_BYTES", 1000)
    with LoopbackServer([Behaviour(body="x" * 1001)], reply=lambda *_: "fine") as server:
        session = open_gateway().session("s", Budget(usd=1))
        assert session.complete(make_call(server)).text == "fine"
        assert server.requests == session.spent.calls == 2


@pytest.mark.parametrize(
    ("value", "seconds"), [("nan", None), ("inf", None), ("-5", 0.0), ("1.5", 1.5), ("soon", None)]
)
def test_waits_that_make_no_sense_are_not_waited_for(value: str, seconds: float | None) -> None:
    assert openai_server.retry_after({"retry-after": value}) == seconds
