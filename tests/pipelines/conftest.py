"""A model behind the loopback server, and calls to it."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import LoopbackServer, Price
from pipelines.gateway.call import LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers.litellm.litellm_import import load_litellm

PRICE = Price(input=2.0, output=8.0)

MakeCall = Callable[..., LMCall]
OpenGateway = Callable[..., Gateway]
Launch = Callable[[LoopbackServer, Path, str, int, int], int]


def pytest_configure(config: pytest.Config) -> None:
    """litellm leaves its dropped clients and event loops to the garbage collector."""
    for thing in ("<socket", "transport", "event loop"):
        config.addinivalue_line("filterwarnings", f"ignore:unclosed {thing}:ResourceWarning")


@pytest.fixture(scope="session", autouse=True)
def _garbage() -> Iterator[None]:
    """Collected while a test still runs: after the last one these filters hold no more."""
    yield
    gc.collect()


def call_to(server: LoopbackServer, text: str = "hello", **fields: Any) -> LMCall:
    """A call to the server's model `tiny`, priced as the server prices it."""
    price = server.prices.get("tiny", PRICE)
    model = Model(
        f"{fields.pop('provider', 'openai')}/tiny",
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


LAUNCHER = textwrap.dedent(
    """
    import os, signal, sys
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from pipelines.gateway.call import LMCall
    from pipelines.gateway.concurrency.limits import Batch, Limit
    from pipelines.gateway.gateway import Gateway
    from pipelines.providers.litellm.litellm_import import load_litellm
    from pipelines.gateway.model import Model

    def make_calls(url, cache, state, first, last):
        limits = {url: Limit(batch=Batch(min_calls=2))}
        session = Gateway(cache, backoff_s=0.01, limits=limits).session(state)
        session.batches = state == "batched"
        model = Model(
            "openai/tiny", api_base=url, input_usd_per_million=2, output_usd_per_million=8
        )
        first, last = int(first), int(last)
        order = range(first, last + 1) if first < last else range(first, last - 1, -1)
        messages = [({"role": "user", "content": f"{i}"},) for i in order]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(session.complete, [LMCall(model, each) for each in messages]))
        part = Path(cache, f"{state}.part")
        part.write_text(f"{session.nominal.calls}")
        part.rename(Path(cache, f"{state}.nominal"))

    load_litellm()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                make_calls(*line.rstrip("\\n").split("\\t"))
            finally:
                os._exit(0)
        print(pid, flush=True)
    """
)


@pytest.fixture(scope="session")
def launch(repository: Path) -> Iterator[Launch]:
    """`launch(server, cache, state, first, last)`: a process of its own makes calls in 8 threads.

    They are numbered, and made in that order, which may be a falling one; by batch, if the state
    is called `batched`.
    Returns its number at once. What it made is in `<state>.nominal` when it is done. litellm is
    imported once for all of them.
    """
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    stdin, stdout = launcher.stdin, launcher.stdout

    def start(server: LoopbackServer, cache: Path, state: str, first: int, last: int) -> int:
        stdin.write(f"{server.url}\t{cache}\t{state}\t{first}\t{last}\n")
        stdin.flush()
        return int(stdout.readline())

    yield start
    launcher.kill()
    launcher.communicate()


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
