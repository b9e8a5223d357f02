"""What a model costs and whether it can be called is known before the first call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError, Price
from pipelines.providers import price_of
from pipelines.providers.litellm.litellm_import import load_litellm
from pipelines.providers.litellm.prices import nearest_model

OpenGateway = Callable[..., Gateway]


@contextmanager
def listed(name: str, **entry: Any) -> Iterator[None]:
    """A model in litellm's list, for a while."""
    prices = load_litellm().model_cost
    prices[name] = {"litellm_provider": "openai", "mode": "chat", **entry}
    try:
        yield
    finally:
        del prices[name]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model("openai/gpt-4o-mni", api_base="http://127.0.0.1:9"), "no price is known"),
        (Model("opnai/gpt-4o-mini"), "no price is known"),
    ],
)
def test_a_model_that_cannot_be_called_costs_nothing_and_says_why(
    open_gateway: OpenGateway, model: Model, message: str
) -> None:
    session = open_gateway().session("s")
    with pytest.raises(CallFailed, match=message) as caught:
        session.complete(LMCall(model, ({"role": "user", "content": "hello"},)))
    assert (caught.value.kind, caught.value.infrastructure) == ("unusable_model", True)
    assert session.spent.calls == 0
    assert session.nominal.calls == 0


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("openai:gpt-4o-mni", "openai/gpt-4o-mini"),
        (
            "bedrock/anthropic.claude-3-5-sonet-20240620-v1:0",
            "bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0",
        ),
    ],
)
def test_colons_stand_for_a_slash_only_where_there_is_none(name: str, nearest: str) -> None:
    assert nearest_model(name) == f" (nearest known: {nearest!r})"


def test_a_call_without_any_key_is_made_once_and_costs_nothing(open_gateway: OpenGateway) -> None:
    session = open_gateway().session("s")
    with pytest.raises(CallFailed, match="OPENAI_API_KEY") as caught:
        session.complete(LMCall(Model("openai/gpt-4o-mini"), ({"role": "user", "content": "a"},)))
    assert (caught.value.kind, caught.value.attempts) == ("authentication", 1)
    assert session.spent.usd == 0


def test_a_price_that_the_list_does_not_give_is_unknown_and_not_zero() -> None:
    with (
        listed("openai/by-the-second", input_cost_per_second=0.01),
        pytest.raises(ModelError, match="no price is known for model 'openai/by-the-second'"),
    ):
        price_of(Model("openai/by-the-second"))


def test_the_dearest_tier_counts() -> None:
    tiers = [
        {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6},
        {"input_cost_per_token": 3e-6, "output_cost_per_token": 2e-6},
    ]
    with listed("openai/in-tiers", tiered_pricing=tiers):
        assert price_of(Model("openai/in-tiers")) == Price(3e-6, 4e-6)
