"""A pipeline as a model API, asked by the clients that people have."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import httpx
import litellm
import openai
import pytest
from langchain_openai import ChatOpenAI
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.loopback import LoopbackServer
from optimizer import Budget, from_dspy
from optimizer.cli import main
from optimizer.serving.chat_form import inputs_of
from optimizer.serving.served_run import MeteredPipeline
from pipelines import Module, Pipeline
from pipelines.adapters.entrances.chat_request import RefusedRequest
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from tests.launching import REPOSITORY
from tests.optimizer.serving.thinking_models import (
    BETTER,
    CASCADE,
    QUICK,
    models,
    serving,
    tuned,
)
from tests.slow_model import Slow

Models = tuple[list[Model], Slow, LoopbackServer]


@pytest.fixture
def thinkers() -> Iterator[Models]:
    with models() as made:
        yield made


def client(url: str, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", **options)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_a_stream_has_the_quick_answer_before_the_slow_model_replies(thinkers: Models) -> None:
    given, slow, _ = thinkers
    with serving(tuned(given)) as url:
        deltas, provisional, known_by = [], [], set()
        for chunk in client(url).chat.completions.create(
            model="thinker", messages=user("why?"), stream=True
        ):
            if found := (chunk.model_extra or {}).get("provisional"):
                assert not slow.go_on.is_set()
                provisional.append(found)
                slow.go_on.set()
            deltas.append(chunk.choices[0].delta.content or "")
            known_by.add((chunk.id, chunk.created))
    assert len(known_by) == 1
    assert provisional == [{"content": QUICK, "confidence": 0.5}]
    assert "".join(deltas) == BETTER


@pytest.mark.parametrize("stream", [False, True])
def test_every_client_reads_the_final_answer_alone(thinkers: Models, stream: bool) -> None:
    given, slow, _ = thinkers
    slow.go_on.set()
    with serving(tuned(given)) as url:
        openais = {"model": "thinker", "messages": user("why?"), "stream": stream}
        answers = [
            _content(client(url).chat.completions.create(**openais)),  # type: ignore[call-overload]
            _content(
                litellm.completion(
                    "openai/thinker", user("why?"), stream=stream, api_base=f"{url}/v1", api_key="x"
                )
            ),
            *dspy.LM("openai/thinker", api_base=f"{url}/v1", api_key="x", cache=False)("why?"),
            _of_langchain(ChatOpenAI(model="thinker", base_url=f"{url}/v1", api_key="x"), stream),  # type: ignore[arg-type]
        ]
    assert answers == [BETTER] * 4


def _content(answered: Any) -> str:
    if hasattr(answered, "choices"):
        return str(answered.choices[0].message.content)
    return "".join(chunk.choices[0].delta.content or "" for chunk in answered)


def _of_langchain(chat: ChatOpenAI, stream: bool) -> str:
    if stream:
        return "".join(str(chunk.content) for chunk in chat.stream("why?"))
    return str(chat.invoke("why?").content)


def test_the_completion_equals_a_call_and_has_its_usage_and_confidence(thinkers: Models) -> None:
    given, slow, server = thinkers
    slow.go_on.set()
    pipeline, gateway = tuned(given), Gateway(None)
    with serving(pipeline, gateway) as url:
        answered = client(url).chat.completions.create(model="thinker", messages=user("why?"))
        streamed = client(url).chat.completions.create(
            model="thinker", messages=user("why?"), stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        *_, last = streamed
    assert pipeline.config is not None
    program = pipeline.bind(pipeline.config, pipeline.named_models(), gateway.session())
    trace = program.run({"question": "why?"})
    assert answered.choices[0].message.content == (trace.outputs or {})["answer"]
    assert answered.usage is not None
    assert answered.usage.prompt_tokens == sum(use.input_tokens for use in server.meter.usages)
    assert answered.usage.completion_tokens == sum(use.output_tokens for use in server.meter.usages)
    assert answered.model_extra == {"confidence": trace.confidence, "usd": trace.usd}
    assert last.usage == answered.usage
    assert server.requests == 3  # the second request and the run came from the cache


def twice(number: int, word: str) -> dict[str, Any]:
    return {"words": [word] * number, "length": number}


TWICE = Pipeline("twice", [Module("twice", "number: int, word -> words: list[str], length: int",
                                  function=twice)])  # fmt: skip


def test_several_inputs_come_as_json_in_the_message_or_beside_it() -> None:
    wanted = {"words": ["ha", "ha"], "length": 2}
    given = {"number": 2, "word": "ha"}
    with serving(TWICE) as url:
        create = client(url).chat.completions.create
        text = f"Use {{braces}} and {{}}: {json.dumps(given)}, thanks"
        in_text = create(model="twice", messages=user(text))
        beside = create(model="twice", messages=[], extra_body={"inputs": given})
        assert json.loads(in_text.choices[0].message.content or "") == wanted
        assert json.loads(beside.choices[0].message.content or "") == wanted
        answered = httpx.post(f"{url}/run", json={"inputs": given}).json()
        assert answered["outputs"] == wanted
        assert answered["final"] is True


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, 'Translate this JSON: {"question": "why?"}', None),
        (str, '{"question": "why?"} in French', None),
        (str, ' {"question": "why?"}\n', "why?"),
        (str, '{"other": 1}', None),
        (dict, '{"other": 1}', {"other": 1}),
        (list, "[" * 100_000, None),
    ],
)
def test_the_only_input_is_the_whole_message(kind: type, text: str, value: Any) -> None:
    found = inputs_of({"messages": user(text)}, {"question": kind})
    assert found == {"question": text if value is None else value}


def test_reading_a_message_takes_time_in_proportion_to_its_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts: list[int] = []

    class Counting(json.JSONDecoder):
        def raw_decode(self, text: str, start: int = 0) -> Any:
            attempts.append(start)
            return super().raw_decode(text, start)

    monkeypatch.setattr(json, "JSONDecoder", Counting)
    for length, most in ((100_000, 8), (2_000_000, 1)):
        attempts.clear()
        with pytest.raises(RefusedRequest, match="must be a JSON object"):
            inputs_of({"messages": user("{" * length)}, {"number": int, "word": str})
        assert len(attempts) == most


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"messages": user("hello")}, 400, "must be a JSON object of 'number', 'word'"),
        ({"inputs": {"number": "x", "word": "a"}}, 400, "number: Input should be a valid integer"),
        ({"inputs": {"number": 1}}, 400, "word: Field required"),
        ({"inputs": {"number": 1, "word": "a", "z": 1}}, 400, "z: Extra inputs are not permitted"),
        ({"inputs": {"number": 1, "word": "a"}, "n": 2}, 400, "n must be 1, but got 2"),
        ({"messages": [], "model": "gpt"}, 404, "there is no model 'gpt' here, but 'twice'"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "must have one of the role 'us"),
        ({"tools": [{}], "messages": user("x")}, 400, "'tools' can't be asked of a pipeline"),
        ({}, 400, "the body must have 'messages', or the pipeline's 'inputs'"),
    ],
)
def test_errors_have_openais_form_and_name_the_problem(
    body: dict[str, Any], status: int, problem: str
) -> None:
    with serving(TWICE) as url:
        answered = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert answered.status_code == status
    assert problem in answered.json()["error"]["message"]


def test_a_run_is_typed() -> None:
    with serving(TWICE) as url:
        schema = httpx.get(f"{url}/openapi.json").json()
        wrong = httpx.post(f"{url}/run", json={"inputs": {"number": [], "word": "a"}})
    assert schema["components"]["schemas"]["Inputs"]["properties"]["number"]["type"] == "integer"
    assert wrong.status_code == 400
    assert "inputs.number: Input should be a valid integer" in wrong.json()["error"]["message"]


def test_bodies_are_json_and_bounded() -> None:
    with serving(TWICE, most_bytes=1000) as url:
        for path in ("/run", "/v1/chat/completions"):
            large = httpx.post(f"{url}{path}", json={"inputs": {"word": "a" * 2000}})
            assert large.status_code == 413
            assert "at most 1,000 bytes" in large.json()["error"]["message"]
            page = httpx.post(f"{url}{path}", content=b'{"inputs": {"number": 1, "word": "a"}}',
                              headers={"Content-Type": "text/plain"})  # fmt: skip
            assert page.status_code in (400, 415)


def test_a_token_is_wanted_everywhere_but_for_health() -> None:
    with serving(TWICE, token="secret-token") as url:
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
        for path in ("/metrics", "/v1/models", "/openapi.json"):
            refused = httpx.get(f"{url}{path}")
            assert (refused.status_code, refused.headers["x-should-retry"]) == (401, "false")
        with pytest.raises(openai.AuthenticationError):
            client(url).models.list()
        (model,) = openai.OpenAI(base_url=f"{url}/v1", api_key="secret-token").models.list()
    assert model.id == "twice"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unforeseen_error_is_logged_without_secrets(
    stream: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: MeteredPipeline) -> None:
        raise OSError("no room for sk-1234567890-secret")

    monkeypatch.setenv("SOME_API_KEY", "sk-1234567890-secret")
    monkeypatch.setattr(MeteredPipeline, "session", fail)
    with serving(TWICE) as url:
        body = {"inputs": {"number": 1, "word": "a"}, "stream": stream}
        answered = httpx.post(f"{url}/run", json=body)
    assert answered.status_code == (200 if stream else 500)
    assert "the server failed; its log says why" in answered.text
    assert "OSError: no room for <SOME_API_KEY>" in caplog.text
    assert "sk-1234567890-secret" not in caplog.text


def test_caps_hold_and_tell_when_to_come_again(thinkers: Models) -> None:
    given, slow, server = thinkers
    slow.go_on.set()
    with serving(tuned(given), hourly=Budget(calls=4)) as url:
        create = client(url).chat.completions.create
        create(model="thinker", messages=user("why?"))
        with pytest.raises(openai.RateLimitError, match="this hour's cap is reached") as reached:
            create(model="thinker", messages=user("and how?"))
        create(model="thinker", messages=user("why?"))  # from the cache
    assert 0 < int(reached.value.response.headers["retry-after"]) <= 3600
    assert server.requests == 4


def test_a_failure_in_a_stream_reaches_the_client(thinkers: Models) -> None:
    given, slow, _ = thinkers
    slow.go_on.set()
    with (
        serving(tuned(given), hourly=Budget(calls=2)) as url,
        pytest.raises(openai.APIError, match="this hour's cap is reached"),
    ):
        for _ in client(url).chat.completions.create(
            model="thinker", messages=user("why?"), stream=True
        ):
            pass


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cuts_off_the_call_in_flight(thinkers: Models, stream: bool) -> None:
    given, slow, server = thinkers
    slow.hangs = True
    with serving(tuned(given)) as url:
        body = json.dumps({"inputs": {"question": "why?"}, "stream": stream})
        head = f"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as leaving:
            leaving.sendall(f"{head}Content-Type: application/json\r\n\r\n{body}".encode())
            assert slow.asked.wait(30)
        _until(lambda: server.meter.abandoned == 1)
        text = httpx.get(f"{url}/metrics").text
    assert "compound_optimizer_in_flight 0" in text
    assert server.requests == 3  # nobody asked again


def _until(happened: Callable[[], bool]) -> None:
    for _ in range(1000):
        if happened():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen")


def test_metrics_are_what_prometheus_reads(thinkers: Models) -> None:
    given, slow, _ = thinkers
    slow.go_on.set()
    with serving(tuned(given), hourly=Budget(usd=1.0)) as url:
        for _ in range(2):
            httpx.post(f"{url}/run", json={"inputs": {"question": "why?"}, "stream": True})
        httpx.get(f"{url}/nowhere")
        text = httpx.get(f"{url}/metrics").text
    found = {
        (sample.name.removeprefix("compound_optimizer_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["requests_total", "/run", "200"] == 2
    assert found["requests_total", "other", "404"] == 1
    assert found["answers_total", "false"] == found["answers_total", "true"] == 2
    assert found["calls_total", "paid"] == found["calls_total", "cached"] == 3
    assert found["final_answer_seconds_count",] == 2
    assert found["final_answer_seconds_bucket", "+Inf"] == 2
    assert found["usd_total",] == pytest.approx(found["hour_usd",])
    assert found["hour_usd_cap",] == 1.0


def test_serve_runs_a_file_until_it_is_told_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMPOUND_OPTIMIZER_TOKEN", "a-token")
    Pipeline("p", [Module("solve", "question -> answer", model="sim/alder")]).save("p.yaml")
    arguments = [sys.executable, "-m", "optimizer.cli", "serve", "p.yaml", "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=_environment()) as run:
        assert run.stdout is not None
        url = run.stdout.readline().strip().rpartition(" at ")[2]
        found = openai.OpenAI(base_url=url, api_key="a-token").chat.completions.create(
            model="p", messages=user("What is 2 + 3?")
        )
        taken = httpx.URL(url).port
        assert main(["serve", "p.yaml", "--port", str(taken)]) == 2
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130
    assert found.choices[0].message.content
    assert f"can't listen on 127.0.0.1, port {taken}" in capsys.readouterr().err


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def test_the_confidence_of_answers_is_not_an_output_of_that_name(thinkers: Models) -> None:
    given, slow, _ = thinkers
    slow.go_on.set()
    named = Module("name", "answer -> confidence", function=lambda answer: len(answer))
    with serving(tuned(given, CASCADE, named)) as url:
        body = {"inputs": {"question": "why?"}, "stream": True}
        text = httpx.post(f"{url}/run", json=body).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line]
    assert [event["confidence"] for event in events] == [0.5, 0.5]
    assert [event["outputs"]["confidence"] for event in events] == [len(QUICK), len(BETTER)]


def test_programs_of_dspy_are_served_too(thinkers: Models) -> None:
    given, slow, _ = thinkers
    slow.go_on.set()
    pipeline = from_dspy(dspy.ChainOfThought("question -> answer"), name="cot")
    config = pipeline.default_config("quick")
    with serving(pipeline.with_config(config, given)) as url:
        answered = httpx.post(f"{url}/run", json={"inputs": {"question": "why?"}}).json()
    assert answered["error"]["code"] == "unparsable"  # it writes no reasoning
    assert "module 'predict' failed" in answered["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["p.yaml", "--workers", "2"], "--workers is for a search service, which has no FILE"),
        (["--usd-per-hour", "2"], "--usd-per-hour is for serve FILE"),
    ],
)
def test_options_of_the_other_service_are_refused(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    assert problem in capsys.readouterr().err
