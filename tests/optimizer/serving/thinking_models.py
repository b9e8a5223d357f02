"""Pipelines behind a model server on 127.0.0.1, whose slow model answers when a test lets it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.loopback import LoopbackServer
from benchmarks.streaming import running
from optimizer.serving.model_server import create_app
from pipelines import Module, Pipeline, Tunable
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from tests.slow_model import Slow

QUICK, BETTER = "quick thought", "better thought"
CASCADE = "quick + slow -> cascade(check)"


def says(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """The check rejects; the others answer in the field that is asked for."""
    said = {"check": "False", "quick": QUICK, "slow": BETTER}[params["model"]]
    field = "accepted" if params["model"] == "check" else "answer"
    return f"[[ ## {field} ## ]]\n{said}\n\n[[ ## completed ## ]]"


@contextmanager
def models() -> Iterator[tuple[list[Model], Slow, LoopbackServer]]:
    """`quick`, `slow` and `check`, at 1 dollar per million tokens."""
    slow = Slow()
    with LoopbackServer(slow, reply=says) as server:
        try:
            yield [_model(name, server.url) for name in ("quick", "slow", "check")], slow, server
        finally:
            slow.go_on.set()


def _model(name: str, url: str) -> Model:
    return Model(
        f"openai/{name}", label=name, api_base=url, max_tokens=100,
        input_usd_per_million=1.0, output_usd_per_million=1.0,
    )  # fmt: skip


def tuned(models: Sequence[Model], network: str = CASCADE, *more: Module) -> Pipeline:
    """A pipeline that answers a question by this network."""
    given = Pipeline("thinker", [Module("think", "question -> answer", model=network), *more])
    return given.with_config(given.default_config(), models)


@contextmanager
def serving(pipeline: Tunable, gateway: Gateway | None = None, **options: Any) -> Iterator[str]:
    """The address of a server of this pipeline."""
    with running(create_app(pipeline, gateway or Gateway(None), **options)) as url:
        yield url
