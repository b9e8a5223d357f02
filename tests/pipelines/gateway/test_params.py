"""No parameter lifts a call's bound, moves its address, or holds a key."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import Pipeline, PipelineError
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import LMCall
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from pipelines.providers import price_of

REFUSED = {
    "max_tokens": "Model(..., max_tokens=...)",
    "max_completion_tokens": "Model(..., max_tokens=...)",
    "max_output_tokens": "Model(..., max_tokens=...)",
    "n": "width",
    "stream": "as a whole",
    "num_retries": "Gateway(retries=...)",
    "max_retries": "Gateway(retries=...)",
    "fallbacks": "Gateway(retries=...)",
    "timeout": "Gateway(timeout_s=...)",
    "api_base": "Model(..., api_base=...)",
    "base_url": "Model(..., api_base=...)",
    "model": "Model(name)",
    "messages": "pipeline",
    "seed": "sample",
    "temperature": "Module(..., temperature=...)",
    "input_cost_per_token": "input_usd_per_million",
    "web_search_options": "costs more",
    "api_key": "api_key_env",
    "azure_ad_token": "api_key_env",
    "aws_secret_access_key": "api_key_env",
}
NESTED = {
    "extra_body": {"max_completion_tokens": 9},
    "extra_headers": {"Authorization": "Bearer sk-1234567890"},
    "headers": {"x-api-key": "sk-1234567890"},
    "options": {"num_predict": 9},
}


@pytest.mark.parametrize(("name", "instead"), REFUSED.items())
def test_it_is_refused_with_the_right_way(name: str, instead: str) -> None:
    with pytest.raises(ValueError, match=f"params may not hold {name!r}") as caught:
        Model("openai/tiny", params={name: 5})
    assert instead in str(caught.value)
    with pytest.raises(ValueError, match=f"params may not hold {name!r}"):
        LMCall(Model("openai/tiny"), (), params={name: 5})


def test_a_service_tier_is_a_models_and_has_a_price() -> None:
    flex = Model("openai/gpt-5-mini", params={"service_tier": "flex"})
    usual, dear = (
        price_of(Model("openai/gpt-5-mini")),
        price_of(Model("openai/gpt-5-mini", params={"service_tier": "priority"})),
    )
    assert price_of(flex) < usual < dear
    with pytest.raises(ModelError, match="at service_tier='flex'"):
        price_of(Model("openai/gpt-4o-mini", params={"service_tier": "flex"}))
    with pytest.raises(ValueError, match="'auto'"):
        Model("openai/gpt-5-mini", params={"service_tier": "auto"})
    with pytest.raises(ValueError, match="part of a model"):
        LMCall(Model("openai/gpt-5-mini"), (), params={"service_tier": "flex"})


@pytest.mark.parametrize(("outer", "inner"), NESTED.items())
def test_it_is_refused_inside_another_one_too(outer: str, inner: dict[str, Any]) -> None:
    (name,) = inner
    with pytest.raises(ValueError, match=f"params may not hold {name!r}"):
        Model("openai/tiny", params={outer: inner})


def test_the_refusal_does_not_quote_a_key() -> None:
    with pytest.raises(ValueError, match="api_key_env") as caught:
        Model("openai/tiny", params={"extra_body": {"password": "sk-1234567890"}})
    assert "sk-1234567890" not in str(caught.value)


def test_what_is_harmless_is_taken() -> None:
    schema = {"properties": {"n": {"type": "integer"}, "password": {"type": "string"}}}
    params = {
        "reasoning_effort": "low",
        "top_p": 0.9,
        "prompt_cache_key": "a",
        "logprobs": True,
        "extra_body": {"top_k": 5, "guided_json": schema},
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    assert Model("openai/tiny", params=params).params == params


@pytest.mark.parametrize(
    "address",
    [
        "https://user:hunter2@host/v1", "https://host/v1?api_key=hunter2", "http://hunter2@[::1]:80",
        "https://host/v1?key=hunter2", "https://host/v1?subscription-key=hunter2",
        "https://host?sig=hunter2", "user:hunter2@host/v1",
    ],
)  # fmt: skip
def test_an_address_holds_no_secret_and_the_refusal_does_not_quote_it(address: str) -> None:
    with pytest.raises(ValueError, match="api_key_env") as caught:
        Model("openai/tiny", api_base=address)
    assert "hunter2" not in str(caught.value)
    assert Model("openai/tiny", api_base="http://host:8000/v1?version=2").provider


@pytest.mark.parametrize("address", ["localhost:8000/v1", "host", "ftp://host/v1"])
def test_an_address_says_how_to_get_there(address: str) -> None:
    with pytest.raises(ValueError, match="must begin with http:// or https://"):
        Model("openai/tiny", api_base=address)


@pytest.mark.parametrize(
    "line", ["params: {api_key: sk-1234567890}", "api_base: 'http://u:sk-1234567890@host'"]
)
def test_nor_does_the_refusal_of_a_yaml_file(line: str) -> None:
    text = "name: x\nmodules: [{name: m, signature: q -> a}]\nmodels:\n- name: openai/tiny\n  "
    with pytest.raises(PipelineError, match="api_key_env") as caught:
        Pipeline.from_yaml(text + line)
    assert "sk-1234567890" not in str(caught.value)
    assert caught.value.line in (4, 5)


@pytest.mark.parametrize(
    ("cap", "value"),
    [("usd", float("inf")), ("usd", float("nan")), ("usd", True), ("usd", -1.0), ("usd", "5"),
     ("seconds", 0), ("calls", 2.5), ("calls", 0)],
)  # fmt: skip
def test_a_cap_is_a_finite_number_above_0(cap: str, value: object) -> None:
    kind = "whole" if cap == "calls" else "finite"
    with pytest.raises(ValueError, match=rf"Budget\({cap}=...\) must be a {kind} number") as caught:
        Budget(**{cap: value})  # type: ignore[arg-type]
    assert str(caught.value).endswith(f"but got {value!r}")
