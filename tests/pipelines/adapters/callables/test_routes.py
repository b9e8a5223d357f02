"""Every way in which code may ask: all of them end at the session, and nothing is left behind."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import httpx
import litellm
import openai
import pytest
from litellm import exceptions

from pipelines.adapters.callables import from_callable
from pipelines.adapters.entrances.server import EntranceServer as server
from pipelines.gateway.call import CallFailed, LMCall
from tests.pipelines.adapters.callables import agents
from tests.pipelines.adapters.callables.agents import (
    HTTP,
    ROUTES,
    Ask,
    Models,
    asked,
    bound,
    by_http,
    by_litellm,
    by_openai,
    once,
    user,
)
from tests.pipelines.scripted_session import ScriptedSession, reply

ANY_ROUTE = pytest.mark.parametrize("route", ROUTES)


def echo(call: LMCall) -> str:
    return f"{call.model.label}: {call.messages[-1]['content']}"


@ANY_ROUTE
def test_a_call_arrives_with_its_parameters_and_its_reply_comes_back(route: str) -> None:
    session = ScriptedSession(echo)
    ask = ROUTES[route]
    agent = once(lambda models, q: ask(models["solve"], q, max_tokens=7, top_p=0.5, stop=["."]))
    program = bound(agent, session, temperature=0.7)
    trace = program.run({"question": "why?"})
    assert trace.outputs == {"answer": "a: why?"}
    (call,) = session.calls
    assert (call.temperature, call.model.max_tokens, call.sample) == (0.7, 7, 0)
    assert dict(call.params) == {"stop": ["."], "top_p": 0.5}
    (step,) = trace.steps
    assert step.inputs["messages"] == user("why?")
    assert (step.outputs, step.usd, step.latency_s) == ({"reply": "a: why?"}, 0.001, 1.0)


def test_no_thread_and_no_port_is_left() -> None:
    close_entrance()
    programs = {}
    for route, ask in ROUTES.items():
        programs[route] = bound(once(asking(ask)), ScriptedSession(echo))
        for question in ("a", "b"):
            programs[route].run({"question": question})
        assert (server.current is None) == (len(programs) <= 3)  # only then is HTTP spoken
    programs.clear()
    close_entrance()


def asking(ask: Ask) -> Any:
    return lambda models, question: ask(models["solve"], question)


def close_entrance() -> None:
    """Nobody needs it any more, once the garbage is collected."""
    gc.collect()
    give_up = time.monotonic() + 5
    while any(thread.name == "entrance" for thread in threading.enumerate()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert server.current is None


def test_several_samples_in_one_request_are_several_calls() -> None:
    def ask(models: Models, question: str) -> str:
        client: Any = openai.OpenAI(base_url=models["solve"].base_url, api_key="none")
        answered = client.chat.completions.create(model="x", messages=user(question), n=3)
        assert answered.usage.total_tokens == 330
        return " ".join(choice.message.content for choice in answered.choices)

    session = ScriptedSession(lambda call: f"#{call.sample}")
    trace = bound(once(ask), session).run({"question": "q"})
    assert trace.outputs == {"answer": "#0 #1 #2"}
    assert len(trace.steps) == len(session.calls) == 3


def test_a_client_may_look_for_models() -> None:
    def ask(models: Models, question: str) -> str:
        client = openai.OpenAI(base_url=models["solve"].base_url, api_key="none", http_client=HTTP)
        (served,) = client.models.list()
        return str(served.id == models["solve"])

    assert bound(once(ask), ScriptedSession()).run({"question": ""}).outputs == {"answer": "True"}


@pytest.mark.parametrize("route", ["litellm", "openai", "httpx"])
def test_a_refused_parameter_is_a_bad_request_that_names_it(route: str) -> None:
    agent = once(lambda models, q: ROUTES[route](models["solve"], q, logprobs=True))
    session = ScriptedSession(echo)
    failure = bound(agent, session).run({"question": "q"}).failure
    assert failure is not None
    assert failure.kind == "program_error"
    assert "400" in failure.message or "logprobs" in failure.message
    assert not session.calls


def test_a_refusal_says_why_over_http() -> None:
    def ask(models: Models, question: str) -> str:
        url = models["solve"].base_url
        refused = [
            HTTP.post(f"{url}/chat/completions", json={"messages": [], "audio": {"a": 1}}),
            HTTP.post(f"{url}/chat/completions", content=b"no json"),
            HTTP.post(f"{url}/embeddings", json={"input": "x"}),
            HTTP.post(url.replace("solve", "slove") + "/chat/completions", json={"messages": []}),
            HTTP.post(f"{url[:26]}guess/solve/v1/chat/completions", json={"messages": []}),
        ]
        assert {each.status_code for each in refused} == {400}
        return "\n".join(each.json()["error"]["message"] for each in refused)

    trace = bound(once(ask), ScriptedSession()).run({"question": ""})
    audio, body, path, module, token = str((trace.outputs or {})["answer"]).splitlines()
    assert audio.startswith("the parameter 'audio' can't be sent through the gateway")
    assert body == "the body of the request must be a JSON object"
    assert path == "the gateway answers chat/completions alone, and not 'embeddings'"
    assert module == "there is no module 'slove'; nearest: 'solve'"
    assert token.startswith("this model belonged to a run that is over")


STATUS = {
    "rate_limited": (429, exceptions.RateLimitError),
    "server_error": (500, exceptions.InternalServerError),
    "timeout": (504, exceptions.Timeout),
    "connection": (503, exceptions.ServiceUnavailableError),
    "malformed_response": (502, exceptions.BadGatewayError),
    "authentication": (401, exceptions.AuthenticationError),
    "quota": (402, exceptions.APIError),
    "bad_request": (400, exceptions.BadRequestError),
    "context_window": (400, exceptions.ContextWindowExceededError),
    "refusal": (400, exceptions.ContentPolicyViolationError),
}


@pytest.mark.parametrize("kind", STATUS)
def test_a_failure_keeps_its_status_and_is_asked_once(kind: str) -> None:
    """Clients retry 429 and 5xx by themselves; the gateway has done so already."""

    def fail(call: LMCall) -> str:
        raise CallFailed(kind, "the provider is away")

    status, as_litellm = STATUS[kind]

    def ask(models: Models, question: str) -> str:
        with pytest.raises(openai.APIStatusError, match="the provider is away") as by_client:
            by_openai(models["solve"], question)
        with pytest.raises(httpx.HTTPStatusError) as by_hand:
            by_http(models["other"], question)
        with pytest.raises(as_litellm, match="the provider is away"):
            by_litellm(models["third"], question, num_retries=2)
        return f"{by_client.value.status_code} {by_hand.value.response.status_code}"

    session = ScriptedSession(fail)
    modules = ["solve", "other", "third"]
    trace = bound(once(ask, modules=modules), session).run({"question": "q"})
    assert trace.outputs == {"answer": f"{status} {status}"}
    assert len(session.calls) == 1  # the same call: it has failed
    assert {step.failure and step.failure.kind for step in trace.steps} == {kind}


def test_asynchronous_code_uses_one_client_in_many_runs() -> None:
    session = ScriptedSession(lambda call: "the answer is 7.")
    pipeline = from_callable(agents.locate_and_solve_async, ["locate", "solve"], outputs=["answer"])
    program = bound(pipeline, session)
    traces = [program.run({"table": "t", "question": str(n)}) for n in range(3)]
    assert [trace.outputs for trace in traces] == [{"answer": "7"}] * 3
    assert [step.module for step in traces[2].steps] == ["locate", "solve"]


def test_a_reply_that_was_cut_off_says_so() -> None:
    def ask(models: Models, question: str) -> str:
        answered = litellm.completion(model=models["solve"], messages=user(question))
        return str(answered.choices[0].finish_reason)

    session = ScriptedSession(lambda call: reply("half", finish_reason="length"))
    assert bound(once(ask), session).run({"question": "q"}).outputs == {"answer": "length"}
    assert asked(session) == [("q", 0)]
