"""Whatever a provider does wrong is retried or reported, and never taken for an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest

from pipelines.llms.budget import Budget
from pipelines.llms.call import CallFailed, LMCall
from pipelines.llms.gateway import Gateway
from pipelines.llms.loopback import Behaviour, LoopbackServer, Price

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]

PRICES = {"tiny": Price(2.0, 8.0)}
RETRIES = 2


def completion(**changes: Any) -> str:
    message = {"role": "assistant", "content": "answer"}
    whole = {
        "id": "1", "object": "chat.completion", "created": 0, "model": "tiny",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }  # fmt: skip
    return json.dumps({k: v for k, v in (whole | changes).items() if v is not None})


TRANSIENT = {
    "429": (Behaviour.rate_limited(), "rate_limited"),
    "429 with Retry-After": (Behaviour.rate_limited(retry_after=0.01), "rate_limited"),
    "500": (Behaviour.server_error(500), "server_error"),
    "503": (Behaviour.server_error(503), "server_error"),
    "529": (Behaviour.server_error(529), "server_error"),
    "a page of HTML with 502": (Behaviour.html(502), "server_error"),
    "a page of HTML with 200": (Behaviour.html(), "malformed_response"),
    "JSON that breaks off": (Behaviour.malformed_json(), "malformed_response"),
    "JSON of another kind": (Behaviour(body="[]"), "malformed_response"),
    "no choices": (Behaviour.empty_choices(), "malformed_response"),
    "a reset": (Behaviour.reset(), "connection"),
    "no answer in time": (Behaviour.hang(), "timeout"),
}
transient = pytest.mark.parametrize(
    ("trouble", "kind"), list(TRANSIENT.values()), ids=list(TRANSIENT)
)


@transient
def test_transient_trouble_is_retried(
    make_call: MakeCall, open_gateway: OpenGateway, trouble: Behaviour, kind: str
) -> None:
    with LoopbackServer([trouble], prices=PRICES, reply=lambda *_: "fine") as server:
        session = open_gateway(timeout_s=0.5).session("s", Budget(usd=1))
        reply = session.complete(make_call(server))
        assert reply.text == "fine"
        assert server.requests == session.spent.calls == 2
        assert server.usd <= session.spent.usd <= 1
        assert session.nominal.calls == 1


@transient
def test_lasting_trouble_is_a_failure_of_the_infrastructure(
    make_call: MakeCall, open_gateway: OpenGateway, trouble: Behaviour, kind: str
) -> None:
    with LoopbackServer(trouble, prices=PRICES) as server:
        session = open_gateway(timeout_s=0.5, retries=RETRIES).session("s", Budget(usd=1))
        with pytest.raises(CallFailed) as caught:
            session.complete(make_call(server))
        assert (caught.value.kind, caught.value.infrastructure) == (kind, True)
        assert server.requests == session.spent.calls == caught.value.attempts == RETRIES + 1
        assert server.usd <= session.spent.usd <= 1
        assert session.nominal.calls == 0


@transient
def test_a_failure_is_never_stored(
    make_call: MakeCall, open_gateway: OpenGateway, trouble: Behaviour, kind: str
) -> None:
    script = [trouble] * (RETRIES + 1)
    with LoopbackServer(script, prices=PRICES, reply=lambda *_: "fine") as server:
        gateway = open_gateway(timeout_s=0.5, retries=RETRIES)
        session = gateway.session("s", Budget(usd=1))
        with pytest.raises(CallFailed):
            session.complete(make_call(server))
        assert session.complete(make_call(server)).text == "fine"
        assert session.complete(make_call(server)).cached
        assert server.requests == RETRIES + 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "bad_request"), (401, "authentication"), (403, "authentication"),
        (404, "bad_request"), (413, "bad_request"), (422, "bad_request"),
    ],
)  # fmt: skip
def test_what_no_retry_can_mend_is_called_once_and_free(
    make_call: MakeCall, open_gateway: OpenGateway, status: int, kind: str
) -> None:
    with LoopbackServer(Behaviour(status=status)) as server:
        session = open_gateway().session("s", Budget(usd=1))
        with pytest.raises(CallFailed) as caught:
            session.complete(make_call(server))
        assert (caught.value.kind, server.requests, session.spent.usd) == (kind, 1, 0)


OWN_FAULTS = {
    "context_window": {
        "message": "This model's maximum context length is 8 tokens. However, you requested 9.",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    },
    "refusal": {
        "message": "Your request was rejected as a result of our safety system: content policy",
        "type": "invalid_request_error",
        "code": "content_policy_violation",
    },
}


@pytest.mark.parametrize("kind", list(OWN_FAULTS))
def test_what_the_model_itself_refuses_is_no_outage(
    make_call: MakeCall, open_gateway: OpenGateway, kind: str
) -> None:
    body = json.dumps({"error": OWN_FAULTS[kind]})
    with LoopbackServer(Behaviour(status=400, body=body)) as server:
        session = open_gateway().session("s")
        with pytest.raises(CallFailed) as caught:
            session.complete(make_call(server))
        assert (caught.value.kind, caught.value.infrastructure) == (kind, False)
        assert server.requests == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for(
    make_call: MakeCall, open_gateway: OpenGateway, as_date: bool
) -> None:
    asked = formatdate(time.time() + 2, usegmt=True) if as_date else 1
    with LoopbackServer([Behaviour.rate_limited(asked)]) as server:
        session = open_gateway().session("s")
        started = time.monotonic()
        session.complete(make_call(server))
        assert 0.9 <= time.monotonic() - started < 4


def test_one_429_makes_all_calls_to_the_provider_wait(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    from threading import Thread

    with LoopbackServer([Behaviour.rate_limited(1)]) as server:
        session = open_gateway().session("s")
        first = Thread(target=session.complete, args=(make_call(server, "first"),))
        first.start()
        while server.requests == 0 or session.spent.calls == 0:
            time.sleep(0.01)
        started = time.monotonic()
        session.complete(make_call(server, "second"))
        assert time.monotonic() - started > 0.7
        first.join()


def test_the_waits_between_attempts_grow(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    times: list[float] = []

    def script(_request: object) -> Behaviour:
        times.append(time.monotonic())
        return Behaviour.server_error()

    with LoopbackServer(script) as server:
        session = open_gateway(retries=3, backoff_s=0.2).session("s")
        with pytest.raises(CallFailed):
            session.complete(make_call(server))
    waits = [after - before for before, after in pairwise(times)]
    assert len(waits) == 3
    assert waits[0] >= 0.1
    assert waits[2] > waits[0] * 1.5


def test_a_reply_without_usage_is_not_free(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer(Behaviour(body=completion(usage=None)), prices=PRICES) as server:
        session = open_gateway(retries=0).session("s", Budget(usd=1))
        with suppress(CallFailed):
            session.complete(make_call(server))
        assert session.spent.usd >= server.usd > 0


def test_a_cut_reply_says_so(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer(reply=lambda *_: "word " * 200) as server:
        reply = open_gateway().session("s").complete(make_call(server, max_tokens=10))
    assert (reply.finish_reason, reply.output_tokens, len(reply.text)) == ("length", 10, 40)


def test_an_empty_reply_is_the_models_own(make_call: MakeCall, open_gateway: OpenGateway) -> None:
    with LoopbackServer(reply=lambda *_: "") as server:
        reply = open_gateway().session("s").complete(make_call(server))
        assert (reply.text, reply.output_tokens, server.requests) == ("", 0, 1)


def test_a_failing_call_through_dspy_is_no_prediction(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    import dspy

    from pipelines.llms.engine import GatewayLM

    with LoopbackServer(Behaviour.html()) as server:
        session = open_gateway(retries=0).session("s")
        lm = GatewayLM(make_call(server).model, session)
        adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
        with (
            dspy.context(lm=lm, adapter=adapter),
            pytest.raises(dspy.LMError) as caught,
        ):
            dspy.Predict("question -> answer")(question="Why?")
        assert isinstance(caught.value.__cause__, CallFailed)
        assert server.requests == 1
