"""Servers of one's own: no key, no price by the token, and an address that somebody knows."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.loopback import Behaviour, LoopbackServer
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.concurrency.event_loop import run
from pipelines.gateway.local_servers import LOCAL_SERVERS
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from pipelines.providers import check_models, price_of, provider_of


async def asked(model: Model) -> Any:
    call = LMCall(model, ({"role": "user", "content": "Say OK."},))
    return await provider_of(model).send(call, 5.0)


PREFIXES = tuple(LOCAL_SERVERS)


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in PREFIXES:
        monkeypatch.delenv(f"{prefix.upper()}_API_BASE", raising=False)
        monkeypatch.delenv(f"{prefix.upper()}_API_KEY", raising=False)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_they_need_neither_key_nor_price(prefix: str) -> None:
    model = Model(f"{prefix}/any-model:8b", api_base="http://127.0.0.1:9/v1")
    check_models([model])
    assert price_of(model) == (0.0, 0.0)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_at_their_usual_address_the_name_is_enough(prefix: str) -> None:
    model = Model(f"{prefix}/llama3")
    check_models([model])
    assert model.address == LOCAL_SERVERS[prefix].usual


@pytest.mark.parametrize("prefix", PREFIXES)
def test_where_nothing_listens_the_message_has_the_address_and_the_command(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = LOCAL_SERVERS[prefix]
    monkeypatch.setenv(server.variable, "http://127.0.0.1:9/v1")
    with pytest.raises(CallFailed) as caught:
        run(asked(Model(f"{prefix}/llama3")))
    message = str(caught.value)
    assert message.startswith(f"{prefix}/llama3 at http://127.0.0.1:9/v1: ")
    assert f"Start it: `{server.start.format(name='llama3')}`" in message
    assert server.variable in message
    assert "ssl" not in message
    assert not caught.value.sent


@pytest.mark.parametrize("prefix", ["lm_studio", "hosted_vllm", "llamafile"])
def test_the_key_that_goes_with_the_address_is_sent_there_and_nowhere_else(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = LOCAL_SERVERS[prefix]
    monkeypatch.setenv(server.key_variable, "the-right-one-42")
    with LoopbackServer(api_key="the-right-one-42") as listening:
        monkeypatch.setenv(server.variable, listening.url)
        assert run(asked(Model(f"{prefix}/any"))).text
        with pytest.raises(CallFailed, match="incorrect API key"):
            run(asked(Model(f"{prefix}/any", api_base=listening.url)))


def test_that_key_is_taken_out_of_what_the_server_says_and_its_variable_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "open-sesame")  # short, and without a digit
    body = '{"error": {"message": "no such key: open-sesame"}}'
    with LoopbackServer(Behaviour(status=401, body=body)) as listening:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", listening.url)
        with pytest.raises(CallFailed, match="it was sent the key in HOSTED_VLLM_API_KEY") as e:
            run(asked(Model("hosted_vllm/any")))
    assert "sesame" not in str(e.value)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("address", ["localhost:8000/v1", "http://me:secret@localhost:8000/v1"])
def test_a_variable_that_holds_no_address_is_refused_and_not_quoted(
    prefix: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = LOCAL_SERVERS[prefix].variable
    monkeypatch.setenv(variable, address)
    with pytest.raises(
        ModelError, match=f"the variable {variable}: .*http://localhost|password"
    ) as e:
        check_models([Model(f"{prefix}/any")])
    assert "secret" not in str(e.value)


def test_a_price_that_is_given_counts() -> None:
    model = Model("ollama/llama3", input_usd_per_million=1.0)
    assert price_of(model) == (1e-6, 0.0)


def test_an_own_key_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    model = Model("hosted_vllm/any", api_base="http://127.0.0.1:9/v1", api_key_env="MY_KEY")
    with pytest.raises(ModelError, match="set MY_KEY"):
        check_models([model])
