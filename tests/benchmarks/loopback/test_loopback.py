from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price, dies_after
from benchmarks.loopback.metering import cut, quarter_of_bytes


def post(server: LoopbackServer, content: str = "hello", **params: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}], **params}
    return httpx.post(f"{server.url}/chat/completions", json=body, timeout=60)


def shout(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    return f"{params['model']}: {messages[-1]['content'].upper()}"


def test_a_completion_has_the_form_of_openai() -> None:
    with LoopbackServer(reply=shout) as server:
        completion = post(server).json()
    assert completion["object"] == "chat.completion"
    assert completion["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "tiny: HELLO"},
            "finish_reason": "stop",
        }
    ]


def test_echo_fills_the_fields_that_the_prompt_asks_for() -> None:
    import dspy

    signature = dspy.Signature("question -> reasoning, answer")
    (system, user) = dspy.ChatAdapter().format(signature, [], {"question": "Why so?"})
    with LoopbackServer() as server:
        text = post(server, user["content"]).json()["choices"][0]["message"]["content"]
    assert dspy.ChatAdapter().parse(signature, text) == {
        "reasoning": "Why so?", "answer": "Why so?",
    }  # fmt: skip
    assert "reasoning" in system["content"]


def test_usage_is_counted_and_priced() -> None:
    prices = {"tiny": Price(input=2.0, output=10.0)}
    with LoopbackServer(prices=prices, reply=lambda *_: "x" * 40) as server:
        usage = post(server, "y" * 80).json()["usage"]
        assert usage == {"prompt_tokens": 24, "completion_tokens": 10, "total_tokens": 34}
        assert server.usd == pytest.approx((24 * 2.0 + 10 * 10.0) / 1e6)
        assert server.meter.requests_by_model == {"tiny": 1}


def test_each_of_n_choices_is_billed() -> None:
    with LoopbackServer(reply=lambda *_: "0123456789") as server:
        completion = post(server, n=3).json()
    assert [choice["index"] for choice in completion["choices"]] == [0, 1, 2]
    assert completion["usage"]["completion_tokens"] == 9


@pytest.mark.parametrize("parameter", ["max_tokens", "max_completion_tokens"])
def test_the_reply_is_cut_at_max_tokens(parameter: str) -> None:
    with LoopbackServer(reply=lambda *_: "0123456789") as server:
        completion = post(server, "hello", **{parameter: 2}).json()
    assert completion["choices"][0]["message"]["content"] == "01234567"
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 2


@given(st.text(), st.integers(0, 20))
def test_cut_keeps_the_longest_prefix_that_fits(text: str, most: int) -> None:
    kept, reason = cut(text, most, quarter_of_bytes)
    assert text.startswith(kept)
    assert quarter_of_bytes(kept) <= most
    assert (reason == "stop") == (kept == text)
    if reason == "length":
        assert quarter_of_bytes(text[: len(kept) + 1]) > most


@pytest.mark.parametrize("status", [429, 500, 503])
def test_refusals_are_counted_but_free(status: int) -> None:
    prices = {"tiny": Price(1.0, 1.0)}
    with LoopbackServer(Behaviour(status=status), prices=prices) as server:
        response = post(server)
        assert response.status_code == status
        assert response.json()["error"]["message"] == f"scripted {status}"
        assert "retry-after" not in response.headers
        assert (server.requests, server.usd) == (1, 0.0)


def test_retry_after_is_sent_when_given() -> None:
    with LoopbackServer(Behaviour.rate_limited(retry_after=7)) as server:
        assert post(server).headers["retry-after"] == "7"


def test_a_web_page_instead_of_json() -> None:
    with LoopbackServer(Behaviour.html()) as server:
        response = post(server)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<!DOCTYPE html>")


def test_json_that_breaks_off() -> None:
    with LoopbackServer(Behaviour.malformed_json()) as server:
        response = post(server)
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_no_choices() -> None:
    with LoopbackServer(Behaviour.empty_choices()) as server:
        completion = post(server).json()
    assert completion["choices"] == []
    assert completion["usage"]["completion_tokens"] > 0


def test_a_reset_is_a_reset_and_is_billed() -> None:
    with LoopbackServer(Behaviour.reset(), prices={"tiny": Price(1.0, 1.0)}) as server:
        with pytest.raises(httpx.ReadError, match="reset by peer"):
            post(server)
        assert server.usd > 0


def test_a_hanging_server_answers_nobody_and_still_closes() -> None:
    with LoopbackServer(Behaviour.hang()) as server, pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/chat/completions",
            json={"model": "tiny", "messages": [{"role": "user", "content": "?"}]},
            timeout=0.2,
        )
    with pytest.raises(httpx.ConnectError):
        post(server)


def give_up(server: LoopbackServer, content: str, after_s: float) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/chat/completions",
            json={"model": "tiny", "messages": [{"role": "user", "content": content}]},
            timeout=after_s,
        )
    end = time.monotonic() + 10
    while server.meter.in_flight:
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("trouble", [Behaviour.slow(30), Behaviour.hang()], ids=["slow", "hang"])
def test_clients_that_leave_are_counted(trouble: Behaviour) -> None:
    with LoopbackServer([Behaviour(), trouble]) as server:
        post(server)
        give_up(server, "?", after_s=0.2)
        assert (server.requests, server.meter.abandoned) == (2, 1)


def test_clients_that_the_closing_server_sends_away_did_not_leave() -> None:
    with LoopbackServer(Behaviour.slow(30)) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, server)
        while not server.meter.in_flight:
            time.sleep(0.005)
        server.close()
        with pytest.raises(httpx.RemoteProtocolError):
            waiting.result()
    assert server.meter.abandoned == 0


@pytest.mark.parametrize("in_full", [True, False])
def test_who_leaves_is_charged_in_full_or_for_what_was_written(in_full: bool) -> None:
    with LoopbackServer(
        Behaviour.slow(1.5), prices={"tiny": Price(2.0, 10.0)}, reply=lambda *_: "x" * 4000,
        bills_abandoned=in_full,
    ) as server:  # fmt: skip
        give_up(server, "y" * 80, after_s=0.5)
        (usage,) = server.meter.usages
        assert usage.input_tokens == 24
        assert usage.output_tokens == 1000 if in_full else 250 < usage.output_tokens < 1000
        post(server, "y" * 80)
        assert server.meter.usages[1].output_tokens == 1000
        assert server.usd == pytest.approx((2 * 24 * 2 + (usage.output_tokens + 1000) * 10) / 1e6)


def test_slow_is_slow() -> None:
    with LoopbackServer(Behaviour.slow(0.2)) as server:
        started = time.monotonic()
        assert post(server).status_code == 200
        assert time.monotonic() - started >= 0.2


def test_a_list_is_followed_in_turn_and_then_all_is_well() -> None:
    script = [Behaviour.server_error(), Behaviour.rate_limited()]
    with LoopbackServer(script) as server:
        assert [post(server).status_code for _ in range(4)] == [500, 429, 200, 200]


def test_a_function_sees_the_request() -> None:
    seen: list[LoopbackRequest] = []

    def script(request: LoopbackRequest) -> Behaviour:
        seen.append(request)
        return Behaviour.server_error(503) if request.params["temperature"] else Behaviour()

    with LoopbackServer(script) as server:
        assert post(server, temperature=1.0).status_code == 503
        assert post(server, temperature=0.0).status_code == 200
    assert [(request.index, request.model) for request in seen] == [(0, "tiny"), (1, "tiny")]
    assert "messages" not in seen[0].params


def test_it_dies_after_so_many_requests() -> None:
    with LoopbackServer(dies_after(2, then=Behaviour.server_error(502))) as server:
        assert [post(server).status_code for _ in range(4)] == [200, 200, 502, 502]


def test_key_and_model_are_checked_where_they_are_given() -> None:
    prices = {"tiny": Price(1.0, 1.0), "large": Price(5.0, 5.0)}
    with LoopbackServer(prices=prices, api_key="right") as server:
        assert post(server).status_code == 401
        body = {"model": "huge", "messages": []}
        headers = {"Authorization": "Bearer right"}
        url = f"{server.url}/chat/completions"
        assert httpx.post(url, json=body, headers=headers).status_code == 404
        listed = httpx.get(f"{server.url}/models").json()["data"]
        assert [model["id"] for model in listed] == ["tiny", "large"]
        assert server.usd == 0


@pytest.mark.parametrize(
    "body",
    [b"no json", b"[]", b'{"model": "tiny"}', b'{"model": "a", "messages": [], "stream": true}'],
)
def test_what_it_cannot_serve_is_a_bad_request(body: bytes) -> None:
    with LoopbackServer() as server:
        assert httpx.post(f"{server.url}/chat/completions", content=body).status_code == 400
        assert server.requests == 0


def test_many_connections_at_once() -> None:
    async def together(url: str, count: int) -> list[int]:
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
        async with httpx.AsyncClient(limits=limits, timeout=300) as client:
            body = {"model": "tiny", "messages": [{"role": "user", "content": "?"}]}
            calls = [client.post(f"{url}/chat/completions", json=body) for _ in range(count)]
            return [response.status_code for response in await asyncio.gather(*calls)]

    arrived = threading.Barrier(50, timeout=300)

    def script(_request: LoopbackRequest) -> Behaviour:
        arrived.wait()
        return Behaviour()

    with LoopbackServer(script) as server:
        assert asyncio.run(together(server.url, 100)) == [200] * 100
        assert server.requests == 100
        assert server.meter.peak_in_flight >= 50


def test_one_connection_serves_many_requests() -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "?"}]}
    with LoopbackServer() as server, httpx.Client() as client:
        fastest = math.inf
        for _ in range(50):
            started = time.monotonic()
            assert client.post(f"{server.url}/chat/completions", json=body).status_code == 200
            fastest = min(fastest, time.monotonic() - started)
        assert fastest < 0.04, "a delayed acknowledgement costs as much at each request"
