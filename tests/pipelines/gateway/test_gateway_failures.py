"""Whatever a provider does wrong is retried or reported, and never taken for an answer."""

from __future__ import annotations

import gc
import json
import math
import re
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.execution import metering
from pipelines.gateway.gateway import Gateway
from pipelines.providers import provider_of
from tests.pipelines.gateway.waiting import until

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]

PRICES = {"tiny": Price(2.0, 8.0)}
RETRIES = 2
routes = pytest.mark.parametrize("provider", ["openai", "together_ai"])
"""Asked directly, and through litellm."""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"retries": -1}, "`retries >= 0` must hold (a whole number), but got -1"),
        ({"retries": 1.5}, "`retries >= 0` must hold (a whole number), but got 1.5"),
        ({"timeout_s": 0}, "`timeout_s > 0` must hold (a finite number), but got 0"),
        ({"timeout_s": math.nan}, "`timeout_s > 0` must hold (a finite number), but got nan"),
        ({"timeout_s": "60"}, "`timeout_s > 0` must hold (a finite number), but got '60'"),
        ({"backoff_s": -0.5}, "`backoff_s >= 0` must hold (a finite number), but got -0.5"),
        ({"limits": {"openai": 5}}, "limits['openai'] must be a Limit(...), but got 5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        Gateway(None, **settings)


def completion(**changes: Any) -> str:
    message = {"role": "assistant", "content": "answer"}
    whole = {
        "id": "1", "object": "chat.completion", "created": 0, "model": "tiny",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }  # fmt: skip
    return json.dumps({k: v for k, v in (whole | changes).items() if v is not None})


def error_with_200(code: int) -> Behaviour:
    """As routers in front of other providers send it, when those have failed."""
    error = {"message": "the provider returned an error", "code": code}
    return Behaviour(body=json.dumps({"error": error}))


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
    "an error with 200": (error_with_200(503), "server_error"),
    "429 with 200": (error_with_200(429), "rate_limited"),
    "an error without a code": (Behaviour(body='{"error": "loading"}'), "malformed_response"),
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


@routes
@transient
def test_lasting_trouble_is_a_failure_of_the_infrastructure(
    make_call: MakeCall, open_gateway: OpenGateway, trouble: Behaviour, kind: str, provider: str
) -> None:
    with LoopbackServer(trouble, prices=PRICES) as server:
        session = open_gateway(timeout_s=0.5, retries=RETRIES).session("s", Budget(usd=1))
        with pytest.raises(CallFailed) as caught:
            session.complete(make_call(server, provider=provider))
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
        later = gateway.session("s", Budget(usd=1))  # which has not set a silent model aside
        assert later.complete(make_call(server)).text == "fine"
        assert later.complete(make_call(server)).cached
        assert server.requests == RETRIES + 2


@routes
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "bad_request"), (401, "authentication"), (402, "quota"), (403, "authentication"),
        (404, "bad_request"), (413, "bad_request"), (422, "bad_request"), (451, "bad_request"),
    ],
)  # fmt: skip
def test_what_no_retry_can_mend_is_called_once_and_free(
    make_call: MakeCall, open_gateway: OpenGateway, status: int, kind: str, provider: str
) -> None:
    with LoopbackServer(Behaviour(status=status)) as server:
        session = open_gateway().session("s", Budget(usd=1))
        with pytest.raises(CallFailed) as caught:
            session.complete(make_call(server, provider=provider))
        assert (caught.value.kind, server.requests, session.spent.usd) == (kind, 1, 0)


def test_a_router_without_a_server_for_tools_is_not_taken_for_a_wrong_name(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    body = json.dumps({"error": {"message": "No endpoints found that support tool use"}})
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    with LoopbackServer(Behaviour(status=404, body=body)) as server:
        session = open_gateway().session("s")
        with pytest.raises(CallFailed, match="it was sent tools: does the model take that"):
            session.complete(make_call(server, params={"tools": tools}))
        with pytest.raises(CallFailed, match="/models lists the names"):
            session.complete(make_call(server))


def test_a_first_try_that_fails_after_its_time_is_not_logged(
    make_call: MakeCall, open_gateway: OpenGateway, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    def script(request: LoopbackRequest) -> Behaviour:
        assert release.wait(30)
        return Behaviour(status=401)

    with LoopbackServer(script) as server:
        session = open_gateway().session("s")
        assert session.try_once([make_call(server)], 0.01) == [None]
        release.set()
        until(lambda: not session.tries)
    gc.collect()
    logged = [each.getMessage() for each in caplog.records if each.name == "asyncio"]
    assert not [text for text in logged if "litellm" not in text]  # which drops tasks of its own


@pytest.mark.parametrize("connects", [True, False])
def test_only_a_model_whose_provider_connects_to_a_server_is_tried(
    connects: bool, make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackServer(lambda _: Behaviour(status=401)) as server:
        session, call = open_gateway().session("s"), make_call(server)
        monkeypatch.setattr(provider_of(call.model), "connects", connects)
        (failure,) = session.try_once([call], 10.0)
        assert (failure is not None) == connects
        assert server.requests == session.spent.calls == int(connects)


EMPTY_ACCOUNTS = {
    "OpenAI": (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    "Anthropic": (400, {"message": "Your credit balance is too low", "type": "invalid_request"}),
}


@routes
@pytest.mark.parametrize(("status", "error"), EMPTY_ACCOUNTS.values(), ids=list(EMPTY_ACCOUNTS))
def test_an_empty_account_is_no_reason_to_wait(
    make_call: MakeCall,
    open_gateway: OpenGateway,
    status: int,
    error: dict[str, str],
    provider: str,
) -> None:
    body = json.dumps({"error": error})
    with LoopbackServer(Behaviour(status=status, body=body)) as server:
        session = open_gateway().session("s", Budget(usd=1))
        with pytest.raises(CallFailed, match=error["message"]) as caught:
            session.complete(make_call(server, provider=provider))
        assert (caught.value.kind, caught.value.infrastructure) == ("quota", True)
        assert (server.requests, session.spent.usd) == (1, 0)


OWN_FAULTS = {
    "context_window": {
        "message": "This model's maximum context length is 800 tokens. However, you requested 900.",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    },
    "refusal": {
        "message": "Your request was rejected as a result of our safety system: content policy",
        "type": "invalid_request_error",
        "code": "content_policy_violation",
    },
}


@routes
@pytest.mark.parametrize("kind", list(OWN_FAULTS))
def test_what_the_model_itself_refuses_is_no_outage(
    make_call: MakeCall, open_gateway: OpenGateway, kind: str, provider: str
) -> None:
    body = json.dumps({"error": OWN_FAULTS[kind]})
    with LoopbackServer(Behaviour(status=400, body=body)) as server:
        session = open_gateway().session("s")
        with pytest.raises(CallFailed) as caught:
            session.complete(make_call(server, provider=provider))
        assert (caught.value.kind, caught.value.infrastructure) == (kind, False)
        assert server.requests == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for(
    make_call: MakeCall, open_gateway: OpenGateway, as_date: bool
) -> None:
    over = time.time() // 1 + 2
    asked = formatdate(over, usegmt=True) if as_date else 1
    with LoopbackServer([Behaviour.rate_limited(asked)]) as server:
        session = open_gateway().session("s")
        started = time.monotonic()
        session.complete(make_call(server))
        assert time.monotonic() - started >= 0.9 if not as_date else time.time() >= over


def test_one_429_makes_all_calls_to_the_provider_wait(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    from threading import Thread

    times: list[float] = []

    def script(request: LoopbackRequest) -> Behaviour:
        times.append(time.monotonic())
        return Behaviour() if request.index else Behaviour.rate_limited(1)

    with LoopbackServer(script) as server:
        session = open_gateway().session("s")
        first = Thread(target=session.complete, args=(make_call(server, "first"),))
        first.start()
        while server.requests == 0 or session.spent.calls == 0:
            time.sleep(0.01)
        session.complete(make_call(server, "second"))
        first.join()
        assert min(times[1:]) - times[0] > 0.9


def test_the_waits_between_attempts_grow(
    make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    backoff = Gateway.backoff

    def noted(gateway: Gateway, attempt: int, failure: CallFailed) -> float:
        waits.append(backoff(gateway, attempt, failure))
        return 0.0

    monkeypatch.setattr(Gateway, "backoff", noted)
    with LoopbackServer(Behaviour.server_error()) as server:
        session = open_gateway(retries=3, backoff_s=0.2).session("s")
        with pytest.raises(CallFailed):
            session.complete(make_call(server))
    assert len(waits) == 3
    assert waits[0] >= 0.1
    assert waits[2] > waits[0] * 1.5


NO_USAGE = {
    "none": None,
    "zeros": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "nothing out": {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9},
}


@pytest.mark.parametrize("usage", NO_USAGE.values(), ids=list(NO_USAGE))
def test_a_reply_without_usage_is_kept_and_charged_by_its_bytes(
    make_call: MakeCall, open_gateway: OpenGateway, usage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    metering._warn_of_usage.cache_clear()
    with LoopbackServer(Behaviour(body=completion(usage=usage)), prices=PRICES) as server:
        session = open_gateway(retries=0).session("s", Budget(usd=1))
        call = make_call(server)
        reply = session.complete(call)
        assert (reply.text, reply.output_tokens) == ("answer", len("answer"))
        assert reply.input_tokens == (
            9 if usage and usage["prompt_tokens"] else call.most_input_tokens
        )
        assert session.spent.usd == reply.usd >= server.usd > 0
        assert session.complete(call).usd == reply.usd
        session.complete(make_call(server, "again"))
    assert caplog.text.count("does not say how many tokens") == 1


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

    from pipelines.programs.engine import GatewayLM

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


def test_an_answer_that_was_cut_off_is_none_even_if_it_parses(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    from dspy.utils.exceptions import LMUnexpectedError

    from pipelines.gateway.call_record import recording
    from pipelines.programs.engine import GatewayLM
    from pipelines.programs.failures import failure_of

    with LoopbackServer(reply=lambda *_: "word " * 200) as server:
        lm = GatewayLM(make_call(server, max_tokens=10).model, open_gateway().session("s"))
        with (
            recording() as recorder,
            pytest.raises(LMUnexpectedError, match="was cut off after 10 tokens") as caught,
        ):
            lm("Tell me all.")
    (call,) = recorder.calls
    assert (call.finish_reason, call.output_tokens) == ("length", 10)
    failure = failure_of(caught.value, recorder.calls, "m")
    assert failure is not None
    assert (failure.kind, failure.infrastructure) == ("truncated", False)
