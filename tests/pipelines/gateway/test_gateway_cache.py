"""What was paid for once is not paid for again, and a cache that breaks stops nobody."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from tests.launching import run_python

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]
Launch = Callable[[LoopbackServer, Path, str, int, int], int]

PRICES = {"tiny": Price(2.0, 8.0)}


def test_a_repeated_call_is_answered_from_the_cache(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with LoopbackServer(prices=PRICES) as server:
        first = open_gateway(cache).session("one")
        paid = first.complete(make_call(server))
        second = open_gateway(cache).session("two")
        found = second.complete(make_call(server))
        assert server.requests == 1
    assert (paid.cached, found.cached) == (False, True)
    assert (found.text, found.usd, found.latency_s) == (paid.text, paid.usd, paid.latency_s)
    assert second.spent.calls == 0
    assert second.nominal == first.nominal
    assert second.nominal.usd == pytest.approx(first.spent.usd)


def test_whatever_decides_the_reply_is_in_the_key(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer() as server:
        session = open_gateway().session("s")
        base = make_call(server)
        calls = [
            base,
            make_call(server, "hello "),
            make_call(server, temperature=0.0),
            make_call(server, temperature=1.0),
            make_call(server, sample=1),
            make_call(server, params={"stop": ["x"]}),
            make_call(server, max_tokens=65),
        ]
        for call in calls:
            session.complete(call)
        assert server.requests == len(calls)
        session.complete(make_call(server, purpose="judge"))
        assert server.requests == len(calls)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("hosted_vllm/tiny", "HOSTED_VLLM_API_BASE"),
        ("ollama_chat/tiny", "OLLAMA_API_BASE"),
        ("openai/tiny", "OPENAI_BASE_URL"),
        ("openai/tiny", "OPENAI_API_BASE"),
        ("bedrock/tiny", "AWS_BEDROCK_RUNTIME_ENDPOINT"),
        ("watsonx/tiny", "WX_URL"),
        ("tiny", "ANTHROPIC_BASE_URL"),
    ],
)
def test_an_address_from_a_variable_is_in_the_key(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(**fields: Any) -> str:
        return LMCall(Model(name, **fields), ({"role": "user", "content": "hello"},)).key

    monkeypatch.delenv(variable, raising=False)
    keys, given = [key()], key(api_base="http://127.0.0.1:9/v1")
    for port in (8000, 8001):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{port}/v1")
        keys.append(key())
        assert key(api_base="http://127.0.0.1:9/v1") == given, "which goes before the variable"
    assert len({*keys, given}) == 4
    monkeypatch.setenv("COHERE_API_BASE", "http://127.0.0.1:8002/v1")
    assert (key() == keys[-1]) == ("/" in name), "another provider's"


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("hosted_vllm", "HOSTED_VLLM_API_BASE"), ("openai", "OPENAI_BASE_URL")],
)
def test_replies_of_one_server_are_not_served_for_another(
    provider: str, variable: str, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "any")
    model = Model(f"{provider}/tiny", input_usd_per_million=2, output_usd_per_million=8)
    session = open_gateway().session("s")
    for said in ("old", "new"):
        with LoopbackServer(reply=lambda *_, said=said: said) as server:
            monkeypatch.setenv(variable, server.url)
            for _ in range(2):
                reply = session.complete(LMCall(model, ({"role": "user", "content": "hello"},)))
                assert reply.text == said
            assert server.requests == 1


def test_keys_stay_so_that_what_was_paid_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(variable, raising=False)
    messages = ({"role": "user", "content": "Say OK."},)
    hosted = LMCall(Model("openai/gpt-4o-mini"), messages)
    assert hosted.key == "c5ef65b84681fe8474da6e12b0af1e8a6998760b541f49137889547ac4d5f0af"
    own = Model("hosted_vllm/tiny", api_base="http://127.0.0.1:9/v1")
    drawn = LMCall(own, messages, temperature=0.5, sample=2)
    assert drawn.key == "4b7e7ff9952fa595618a42d791efe6e82c4d5617feb3bb00db235417a413eda1"


def test_each_draw_of_each_prompt_has_a_seed_of_its_own(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(reply=lambda _, params: str(params["seed"])) as server:
        session = open_gateway().session("s")
        calls = [
            make_call(server, text, sample=i) for text in ("hello", "hi") for i in (0, 1, 7, 1)
        ]
        seeds = [int(session.complete(call).text) for call in calls]
    assert seeds[1] == seeds[3]
    assert len(set(seeds)) == 6
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_same_call_in_flight_64_times_is_paid_once(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    with LoopbackServer(Behaviour.slow(0.2), prices=PRICES) as server:
        session = open_gateway().session("s", Budget(calls=1))
        with ThreadPoolExecutor(64) as pool:
            replies = list(pool.map(session.complete, [make_call(server)] * 64))
        assert server.requests == session.spent.calls == session.nominal.calls == 1
        assert len({reply.text for reply in replies}) == 1
        assert sum(not reply.cached for reply in replies) == 1


def test_a_failing_call_in_flight_64_times_is_retried_by_one(
    make_call: MakeCall, open_gateway: OpenGateway
) -> None:
    def outcome(call: LMCall) -> str:
        with pytest.raises(CallFailed) as caught:
            session.complete(call)
        return caught.value.kind

    with LoopbackServer(Behaviour(status=500, latency_s=0.3)) as server:
        session = open_gateway(retries=1).session("s")
        with ThreadPoolExecutor(64) as pool:
            kinds = set(pool.map(outcome, [make_call(server)] * 64))
        assert kinds == {"server_error"}
        assert server.requests == 2


def test_two_gateways_on_one_folder_pay_a_shared_call_once(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with LoopbackServer(Behaviour.slow(0.1)) as server:
        sessions = [open_gateway(cache).session(f"{i}") for i in range(2)] * 16
        with ThreadPoolExecutor(32) as pool:
            waiting = [pool.submit(s.complete, make_call(server)) for s in sessions]
            texts = {future.result().text for future in waiting}
        assert len(texts) == 1
        assert server.requests == 1


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def test_two_processes_on_one_folder_pay_a_shared_call_once(
    launch: Launch, open_gateway: OpenGateway, cache: Path
) -> None:
    both = threading.Event()

    def script(_request: LoopbackRequest) -> Behaviour:
        assert both.wait(30), "one of them made no call"
        return Behaviour.slow(0.02)

    with LoopbackServer(script) as server:
        launch(server, cache, "one", 0, 23)
        launch(server, cache, "other", 23, 0)
        wait_until(lambda: server.meter.in_flight == 16)
        both.set()
        files = [cache / "one.nominal", cache / "other.nominal"]
        wait_until(lambda: all(file.exists() for file in files))
        assert [file.read_text() for file in files] == ["24", "24"]
        assert server.requests == 24
    gateway = open_gateway(cache)
    paid = [gateway.session(state).spent.calls for state in ("one", "other")]
    assert sum(paid) == 24
    assert all(paid)


def test_a_cache_hit_does_not_import_litellm(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with LoopbackServer() as server:
        call = make_call(server)
        open_gateway(cache).session("s").complete(call)
    code = textwrap.dedent(
        f"""
        import sys
        from pipelines.gateway.call import LMCall
        from pipelines.gateway.gateway import Gateway
        from pipelines.gateway.model import Model

        model = Model("openai/tiny", api_base={call.model.api_base!r},
                      input_usd_per_million=2, output_usd_per_million=8, max_tokens=64)
        reply = Gateway({str(cache)!r}).session("t").complete(
            LMCall(model, ({{"role": "user", "content": "hello"}},)))
        print(reply.cached, {{"litellm", "dspy", "openai"}} & sys.modules.keys())
        """
    )
    ran = run_python("-c", code)
    assert ran.stdout.strip() == "True set()", ran.stderr


def _fill(cache: Path, calls: list[LMCall]) -> Path:
    gateway = Gateway(cache)
    session = gateway.session("before")
    for call in calls:
        session.complete(call)
    gateway.close()
    return cache / "cache.sqlite"


@pytest.mark.parametrize(
    ("damage", "kept"), [("overwritten", 0), ("cut", 0), ("a page in the middle", 60)]
)
def test_a_corrupt_cache_is_set_aside_and_said(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path, damage: str, kept: int,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with LoopbackServer(reply=lambda *_: "z" * 200) as server:
        calls = [make_call(server, f"{i}" + "y" * 500) for i in range(60)]
        path = _fill(cache, calls)
        assert server.requests == 60
        whole = path.read_bytes()
        broken = {
            "overwritten": b"this is no database" * 500,
            "cut": whole[: len(whole) // 2],
            "a page in the middle": whole[:8192] + b"\xff" * 4096 + whole[12288:],
        }[damage]
        path.write_bytes(broken)
        with caplog.at_level(logging.WARNING):
            session = open_gateway(cache).session("after", Budget(calls=100))
        assert "corrupt" in caplog.text
        assert "set aside" in caplog.text
        aside = [other for other in cache.iterdir() if "corrupt" in other.name]
        assert len(aside) == 1
        assert aside[0].name in caplog.text
        assert f"starts with the {kept} replies" in caplog.text
        assert session.complete(calls[0]).text == "z" * 200
        assert session.complete(calls[0]).cached
        assert server.requests == 60 + (not kept)


OPENING = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from pipelines.gateway.gateway import Gateway

    folder = Path(sys.argv[1])
    for i in range(int(sys.argv[2])):
        print("ready", flush=True)
        while not (folder / f"go {i}").exists():
            time.sleep(0)
        Gateway(folder / f"cache {i}").session("s")
    """
)


def test_a_corrupt_cache_met_by_four_processes_is_set_aside_once(
    tmp_path: Path, repository: Path
) -> None:
    rounds = 8
    for i in range(rounds):
        (tmp_path / f"cache {i}").mkdir()
        (tmp_path / f"cache {i}" / "cache.sqlite").write_bytes(b"this is no database" * 500)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENING, str(tmp_path), str(rounds)],
            cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for i in range(rounds):
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        (tmp_path / f"go {i}").touch()
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, "".join(said)
    for i in range(rounds):
        names = [path.name for path in (tmp_path / f"cache {i}").iterdir()]
        assert sum("corrupt" in name for name in names) == 1, names


def test_an_empty_file_is_a_new_cache(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    cache.mkdir()
    (cache / "cache.sqlite").touch()
    with LoopbackServer() as server:
        assert open_gateway(cache).session("s").complete(make_call(server)).text == "hello"


@pytest.mark.parametrize("variable", ["PLANTED_API_KEY", "PLANTED_CREDENTIAL"])
def test_a_key_is_in_no_byte_of_the_cache_and_in_no_message(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path, variable: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    secret = "sk-planted-0123456789abcdef"
    monkeypatch.setenv(variable, secret)
    seen: list[str] = []

    def blab(request: LoopbackRequest) -> Behaviour:
        seen.append(request.headers["authorization"])
        told = f'{{"error": {{"message": "bad key {secret}", "code": "x"}}}}'
        return Behaviour() if request.index == 0 else Behaviour(status=401, body=told)

    caplog.set_level(logging.INFO)
    echo = f"You sent me {secret}."
    with LoopbackServer(blab, api_key=secret, reply=lambda *_: echo) as server:
        session = open_gateway(cache).session("s", Budget(usd=1))
        reply = session.complete(make_call(server, api_key_env=variable))
        with pytest.raises(CallFailed) as caught:
            session.complete(make_call(server, "again", api_key_env=variable))
    assert seen == [f"Bearer {secret}"] * 2
    assert reply.text == f"You sent me <{variable}>."
    assert secret not in "".join(traceback.format_exception(caught.value))
    assert secret not in caplog.text
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert any(path.name == "cache.sqlite" for path in files)
    for path in files:
        assert secret.encode() not in path.read_bytes(), path


def test_an_answer_that_is_also_in_the_environment_is_no_secret(
    make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_TOKEN", "positive")
    with LoopbackServer(reply=lambda *_: "The label is positive.") as server:
        reply = open_gateway().session("s").complete(make_call(server))
    assert reply.text == "The label is positive."


def test_another_providers_key_is_not_sent_to_an_own_server(
    make_call: MakeCall, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    seen: list[str] = []

    def script(request: LoopbackRequest) -> Behaviour:
        seen.append(request.headers.get("authorization", ""))
        return Behaviour()

    with LoopbackServer(script) as server:
        open_gateway().session("s").complete(make_call(server))
    assert "sk-of-openai" not in "".join(seen)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    from pipelines.gateway.storage.store import StoreError

    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="can't be written"):
        Gateway(tmp_path / "cache")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    from pipelines.gateway.storage.store import StoreError

    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StoreError, match="can't be written"):
        Gateway(tmp_path / "cache")


def test_a_folder_in_place_of_the_file_is_named_and_not_set_aside(tmp_path: Path) -> None:
    from pipelines.gateway.storage.store import StoreError

    (tmp_path / "cache.sqlite").mkdir()
    with pytest.raises(StoreError, match=r"cache\.sqlite' can't be opened"):
        Gateway(tmp_path)
    assert (tmp_path / "cache.sqlite").is_dir()


def test_the_store_is_readable_by_plain_sqlite(
    make_call: MakeCall, open_gateway: OpenGateway, cache: Path
) -> None:
    with LoopbackServer() as server:
        open_gateway(cache).session("s").complete(make_call(server))
    connection = sqlite3.connect(cache / "cache.sqlite")
    counts = [
        connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
        for table in ("replies", "flights", "spend")
    ]
    connection.close()
    assert counts == [1, 0, 1]


def test_a_process_that_ends_leaves_no_lock_behind(cache: Path) -> None:
    code = f"from pipelines.gateway.gateway import Gateway; g = Gateway({str(cache)!r}); print(1)"
    ended = run_python("-c", code)
    assert ended.stdout == "1\n"
    assert list((cache / "owners").iterdir()) == []


def test_a_fork_that_ends_leaves_its_parent_alive(cache: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os, pathlib, sys
        from pipelines.gateway.gateway import Gateway
        gateway = Gateway({str(cache)!r})
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        os.waitpid(pid, 0)
        print(len(list(pathlib.Path({str(cache)!r}, "owners").iterdir())))
        """
    )
    ended = run_python("-c", code)
    assert ended.stdout == "1\n"
