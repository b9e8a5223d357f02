"""A model behind the loopback server, and calls to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.llms.call import LMCall
from pipelines.llms.gateway import Gateway
from pipelines.llms.litellm_import import load_litellm
from pipelines.llms.loopback import LoopbackServer, Price
from pipelines.llms.model import Model

PRICE = Price(input=2.0, output=8.0)

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]


def pytest_configure(config: pytest.Config) -> None:
    """litellm leaves its dropped clients and event loops to the garbage collector."""
    for thing in ("<socket", "event loop"):
        config.addinivalue_line("filterwarnings", f"ignore:unclosed {thing}:ResourceWarning")


def call_to(server: LoopbackServer, text: str = "hello", **fields: Any) -> LMCall:
    """A call to the server's model `tiny`, priced as the server prices it."""
    price = server.prices.get("tiny", PRICE)
    model = Model(
        "openai/tiny",
        api_base=server.url,
        input_usd_per_million=price.input,
        output_usd_per_million=price.output,
        max_tokens=fields.pop("max_tokens", 64),
        api_key_env=fields.pop("api_key_env", None),
    )
    return LMCall(model, ({"role": "user", "content": text},), **fields)


@pytest.fixture(scope="session")
def make_call() -> MakeCall:
    """`make_call(server, text, **fields)`; litellm's import does not count into any test's time."""
    load_litellm()
    return call_to


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder that does not exist yet."""
    return tmp_path / "replies"


@pytest.fixture
def open_gateway() -> Iterator[OpenGateway]:
    """Open gateways that retry at once, and close them after the test."""
    opened: list[Gateway] = []

    def open_one(cache: Path | None = None, **settings: Any) -> Gateway:
        settings = {"backoff_s": 0.001, "retries": 2, "timeout_s": 10.0} | settings
        opened.append(Gateway(cache, **settings))
        return opened[-1]

    yield open_one
    for gateway in opened:
        gateway.close()
