"""Servers of one's own: no key, no price by the token, and an address that somebody knows."""

from __future__ import annotations

import pytest

from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from pipelines.providers import check_models, price_of, provider_of

PREFIXES = ("ollama", "ollama_chat", "llamafile", "lm_studio", "hosted_vllm")


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


@pytest.mark.parametrize("prefix", ["ollama", "ollama_chat", "llamafile"])
def test_at_their_usual_address_the_name_is_enough(prefix: str) -> None:
    model = Model(f"{prefix}/llama3")
    assert provider_of(model).problem_of(model) is None


@pytest.mark.parametrize("prefix", ["lm_studio", "hosted_vllm"])
def test_an_address_that_nothing_tells_is_asked_for(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{prefix.upper()}_API_BASE"
    with pytest.raises(ModelError, match=rf"needs the address of its server.*{variable}"):
        check_models([Model(f"{prefix}/any")])
    monkeypatch.setenv(variable, "http://127.0.0.1:9/v1")
    check_models([Model(f"{prefix}/any")])


def test_a_price_that_is_given_counts() -> None:
    model = Model("ollama/llama3", input_usd_per_million=1.0)
    assert price_of(model) == (1e-6, 0.0)


def test_an_own_key_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    model = Model("hosted_vllm/any", api_base="http://127.0.0.1:9/v1", api_key_env="MY_KEY")
    with pytest.raises(ModelError, match="set MY_KEY"):
        check_models([model])
