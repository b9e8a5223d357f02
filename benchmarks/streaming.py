"""Quick and better answers of a cascade: seconds until each, in Python and over HTTP.

    python -m benchmarks streaming [--requests 40]

A loopback server plays a quick model (0.2 s), a check that rejects its answers (0.3 s) and a slow
model (1 s). The rivals: the quick model asked directly by OpenAI's client, which is the least that
a first answer can take, and a call of the pipeline, which has nothing to show before the end.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import openai
import uvicorn
from fastapi import FastAPI

from benchmarks.loopback import Behaviour, LoopbackServer
from optimizer.serving.model_server import create_app
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model

SECONDS = {"quick": 0.2, "check": 0.3, "slow": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=40)
    count = parser.parse_args().requests
    with LoopbackServer(lambda asked: Behaviour.slow(SECONDS[asked.model]), reply=says) as server:
        pipeline, gateway = cascade(server.url), Gateway(cache=None)
        with running(create_app(pipeline, gateway)) as url:
            direct = openai.OpenAI(base_url=server.url, api_key="none")
            served = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
            ways: dict[str, Callable[[str], Iterator[str]]] = {
                "quick model, asked directly": lambda text: chat(direct, "quick", text),
                "the pipeline, called": lambda text: called(pipeline, gateway, text),
                "the pipeline, streamed": lambda text: streamed(pipeline, gateway, text),
                "the pipeline, streamed over HTTP": lambda text: streamed_chat(served, text),
            }
            for name, ask in ways.items():
                report(name, [timed(ask, f"{name} {number}") for number in range(-2, count)][2:])


def report(name: str, runs: Sequence[Sequence[float]]) -> None:
    """Print median and 95th percentile of the seconds until the first and the last answer."""
    shown = []
    for place in (0, -1):
        seconds = sorted(run[place] for run in runs)
        high = seconds[int(0.95 * (len(seconds) - 1))]
        shown.append(f"{statistics.median(seconds):.3f} s (95%: {high:.3f})")
    print(f"{name:34} first {shown[0]}  last {shown[1]}  answers {len(runs[0])}")


def timed(ask: Callable[[str], Iterator[str]], text: str) -> list[float]:
    """Seconds until each answer."""
    started = time.perf_counter()
    return [time.perf_counter() - started for _ in ask(text)]


def chat(client: openai.OpenAI, model: str, text: str) -> Iterator[str]:
    answered = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}]
    )
    yield str(answered.choices[0].message.content)


def called(pipeline: Pipeline, gateway: Gateway, text: str) -> Iterator[str]:
    session = gateway.session("benchmark")
    yield str(pipeline.ready_for(["question"], session).prediction_of({"question": text}).answer)


def streamed(pipeline: Pipeline, gateway: Gateway, text: str) -> Iterator[str]:
    session, inputs = gateway.session("benchmark"), {"question": text}
    for prediction in pipeline.ready_for(inputs, session).stream(inputs, session):
        yield prediction.answer


def streamed_chat(client: openai.OpenAI, text: str) -> Iterator[str]:
    for chunk in client.chat.completions.create(
        model="cascade", messages=[{"role": "user", "content": text}], stream=True
    ):
        if found := (chunk.model_extra or {}).get("provisional"):
            yield found["content"]
        elif content := chunk.choices[0].delta.content:
            yield content


def cascade(url: str) -> Pipeline:
    models = [
        Model(
            f"openai/{name}", label=name, api_base=url,
            input_usd_per_million=1.0, output_usd_per_million=1.0,
        )
        for name in SECONDS
    ]  # fmt: skip
    module = Module("think", "question -> answer", model="quick + slow -> cascade(check)")
    pipeline = Pipeline("cascade", [module])
    return pipeline.with_config(pipeline.default_config(), models)


def says(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    field, said = ("accepted", "False") if params["model"] == "check" else ("answer", "so")
    return f"[[ ## {field} ## ]]\n{said}\n\n[[ ## completed ## ]]"


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of a server of this application; connections wait until it has started."""
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    main()
