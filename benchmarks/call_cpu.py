"""CPU of one call, ours beside DSPy's and litellm's, over loopback HTTP; cached, and simulated.

    python -m benchmarks call_cpu [--calls 1000] [--repeats 3] [--slow 2000]

A program of one predictor on as many questions, 32 in flight, in a process of its own; the server
of OpenAI's form runs in another one. The bare calls send the messages that the program sends. With
`--slow` calls of 500 ms, 64 in flight, the share of the ideal wall time. Medians over repeats, in
which the ways take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import dspy

from benchmarks.loopback import Behaviour, LoopbackServer
from evaluators.dataset import Dataset
from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers.litellm.litellm_import import load_litellm

IN_FLIGHT = 32
SLOW_S, SLOW_IN_FLIGHT = 0.5, 64
PIPELINE = Pipeline("echo", [Module("answer", "question -> answer")])
OWN, OWN_LITELLM = "ours", "ours, by litellm"
VIA_LITELLM = "together_ai"
"""A provider that litellm asks in OpenAI's form; the bare calls ask it, too."""
DSPY, DSPY_LITELLM = "dspy.Evaluate", "dspy.Evaluate, litellm"
LITELLM = "litellm.acompletion"

Work = Callable[[int, int], object]
"""From where the questions' numbers begin, and how many they are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slow", type=int, default=2000, help="calls of 500 ms; 0 for none")
    options = parser.parse_args()
    with server(0.0) as url, tempfile.TemporaryDirectory() as folder:
        ways = uncached_ways(url, IN_FLIGHT)
        report(measured(ways, options.calls, options.repeats), options.calls, "uncached")
        cached = cached_ways(url, folder, options.calls)
        report(measured(cached, options.calls, options.repeats), options.calls, "cached")
    sim = {OWN: own_way(Model("sim/alder"), IN_FLIGHT)}
    report(measured(sim, options.calls, options.repeats), options.calls, "simulated")
    if options.slow:
        with server(SLOW_S) as url:
            ideal = SLOW_S * math.ceil(options.slow / SLOW_IN_FLIGHT)
            times = measured(uncached_ways(url, SLOW_IN_FLIGHT), options.slow, 1)
            for name, ((wall, cpu),) in times.items():
                print(
                    f"{1000 * SLOW_S:.0f} ms x {SLOW_IN_FLIGHT} | {name:22} | "
                    f"{ideal / wall:.0%} of ideal | CPU {1000 * cpu / options.slow:.1f} ms"
                )


def measured(
    ways: dict[str, Work], calls: int, repeats: int
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds by way, of each repeat."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(repeats):
        for name, work in ways.items():
            work(-50 - 50 * number, 50)  # imports, connections
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            work(number * calls, calls)
            found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return found


def report(times: dict[str, list[tuple[float, float]]], calls: int, what: str) -> None:
    for name, found in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"{what:9} | {name:22} | CPU {1000 * cpu / calls:6.2f} ms a call | "
            f"{calls / wall:7,.0f} a second",
            flush=True,
        )


def questions(first: int, count: int) -> list[dict[str, str]]:
    return [
        {"question": f"What is question number {first + n}?", "answer": "x"} for n in range(count)
    ]


def own_model(url: str, name: str) -> Model:
    return Model(name, api_base=url, input_usd_per_million=1, output_usd_per_million=1)


def own_way(model: Model, in_flight: int, folder: str | None = None) -> Work:
    gateway = Gateway(folder)

    def work(first: int, count: int) -> None:
        data = Dataset.load(questions(first, count))
        metric = resolve_metric("exact_match", PIPELINE.outputs, data.columns)
        models = {model.label: model}
        session = gateway.session("cpu")
        made = Evaluator(PIPELINE, models, data, metric, session, in_flight)
        config = PIPELINE.default_config(model.label)
        made.run([(config, index) for index in range(count)])
        assert len(made.known(config).scores) == count

    return work


def dspy_way(url: str, engine: str, in_flight: int, cache: bool = False) -> Work:
    lm = dspy.LM("openai/echo", api_base=url, api_key="none", cache=cache, engine=engine)
    program = dspy.Predict("question -> answer")
    program.set_lm(lm)

    def work(first: int, count: int) -> None:
        examples = [dspy.Example(**row).with_inputs("question") for row in questions(first, count)]
        evaluate = dspy.Evaluate(
            devset=examples, num_threads=in_flight, display_progress=False,
            metric=lambda gold, pred, _=None: float(gold.answer == pred.answer),
        )  # fmt: skip
        evaluate(program)

    return work


def litellm_way(url: str, in_flight: int) -> Work:
    litellm = load_litellm()
    signature = dspy.Signature("question -> answer")

    async def asked(rows: Sequence[dict[str, str]]) -> None:
        free = asyncio.Semaphore(in_flight)

        async def ask(row: dict[str, str]) -> None:
            inputs = {"question": row["question"]}
            messages: Any = dspy.ChatAdapter().format(signature, [], inputs)
            async with free:
                await litellm.acompletion(
                    model=f"{VIA_LITELLM}/echo", messages=messages, api_base=url, api_key="none",
                    max_tokens=2048, num_retries=0, max_retries=0,
                )  # fmt: skip

        await asyncio.gather(*map(ask, rows))

    return lambda first, count: asyncio.run(asked(questions(first, count)))


def uncached_ways(url: str, in_flight: int) -> dict[str, Work]:
    return {
        OWN: own_way(own_model(url, "openai/echo"), in_flight),
        OWN_LITELLM: own_way(own_model(url, f"{VIA_LITELLM}/echo"), in_flight),
        DSPY: dspy_way(url, "auto", in_flight),
        DSPY_LITELLM: dspy_way(url, "litellm", in_flight),
        LITELLM: litellm_way(url, in_flight),
    }


def cached_ways(url: str, folder: str, calls: int) -> dict[str, Work]:
    """The same questions over and over; the first time pays."""
    ways = {
        OWN: own_way(own_model(url, "openai/echo"), IN_FLIGHT, folder),
        DSPY: dspy_way(url, "auto", IN_FLIGHT, cache=True),
    }

    def repeated(work: Work) -> Work:
        work(0, calls)
        return lambda first, count: work(0, count)

    return {name: repeated(work) for name, work in ways.items()}


@contextmanager
def server(
    latency_s: float, serve: Callable[[float, Connection], None] | None = None
) -> Iterator[str]:
    """The address of a server in another process, which answers after so many seconds."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve or serve_by_threads, args=(latency_s, there), daemon=True
    )
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def serve_by_threads(latency_s: float, tell: Connection) -> None:
    with LoopbackServer(Behaviour.slow(latency_s)) as running:
        tell.send(running.url)
        time.sleep(1e9)
