"""Calls of 500 ms on worker processes of Dask: rate, and the coordinator's CPU a call.

    python -m benchmarks many_machines [--workers 1,4] [--in-flight 64] [--seconds 20]
        [--repeats 3] [--local]

A scheduler, workers of one thread each and a server of OpenAI's form, all processes of their own
on this machine. A program of one predictor on as many questions as the workers can answer in that
time with so many calls in flight each. `--local` adds the same without workers.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from contextlib import ExitStack, nullcontext
from multiprocessing.connection import Connection
from typing import NamedTuple

import joblib

from benchmarks.call_cpu import server
from benchmarks.dask_cluster import DaskCluster
from evaluators.dataset import Dataset
from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from pipelines import Module, Pipeline
from pipelines.gateway.concurrency.limits import Limit
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.model import Model
from pipelines.workers import coordinator, on_workers
from pipelines.workers.coordinator import PLACES

SLOW_S = 0.5
_NUMBER = "########"
"""Where each reply has a number of its own, so that what reads it is asked anew."""
PIPELINE = Pipeline("echo", [Module("answer", "question -> answer")])


class Measured(NamedTuple):
    """One run."""

    rate: float
    cpu_ms: float
    """Of the coordinator, a call."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", default="1,4")
    parser.add_argument("--in-flight", type=int, default=PLACES, help="of each worker")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--local", action="store_true")
    options = parser.parse_args()
    coordinator.PLACES = options.in_flight
    rates = {}
    for workers in [int(text) for text in options.workers.split(",")]:
        in_flight = workers * options.in_flight
        calls = int(options.seconds / SLOW_S) * in_flight
        for name in ("workers", "one process") if options.local else ("workers",):
            with (
                DaskCluster(workers) if name == "workers" else nullcontext(),
                server(SLOW_S, serve) as url,
            ):
                found = [
                    measured(url, in_flight, calls, name == "workers")
                    for _ in range(options.repeats)
                ]
            rate, cpu_ms = (statistics.median(column) for column in zip(*found, strict=True))
            rates[name, workers] = rate
            print(
                f"{name}: {workers} x {options.in_flight} in flight | "
                f"{calls:,} calls | {rate:,.0f} a second, {rate * SLOW_S / in_flight:.0%} of ideal "
                f"| coordinator {cpu_ms:.2f} ms of CPU a call",
                flush=True,
            )
    if {("workers", 1), ("workers", 4)} <= set(rates):
        print(f"4 workers against 1: {rates['workers', 4] / rates['workers', 1]:.2f} times")


def measured(url: str, in_flight: int, calls: int, remote: bool) -> Measured:
    model = Model("openai/echo", api_base=url, input_usd_per_million=1, output_usd_per_million=1)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        gateway = Gateway(folder, limits={url: Limit(concurrency=10 * in_flight)})
        stack.callback(gateway.close)
        session = gateway.session("scale")
        if remote:
            stack.enter_context(joblib.parallel_config("dask"))
        stack.enter_context(on_workers(session))
        first = int(time.time() * 1000)
        run(model, session, range(first, first + 2 * in_flight), in_flight)  # imports, connections
        wall, cpu = time.perf_counter(), time.process_time()
        run(model, session, range(calls), in_flight)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert session.spent.calls == calls + 2 * in_flight
        return Measured(calls / wall, 1000 * cpu / calls)


def run(model: Model, session: Session, numbers: range, in_flight: int) -> None:
    rows = [{"question": f"What is question number {n}?", "answer": "x"} for n in numbers]
    data = Dataset.load(rows)
    metric = resolve_metric("exact_match", PIPELINE.outputs, data.columns)
    made = Evaluator(PIPELINE, {model.label: model}, data, metric, session, in_flight)
    config = PIPELINE.default_config(model.label)
    made.run([(config, index) for index in range(len(rows))])
    assert len(made.known(config).scores) == len(rows)


def serve(latency_s: float, tell: Connection) -> None:
    """A server on one event loop, which takes a tenth of the CPU of one with threads."""
    fields = ("answer", *(f"note_{number}" for number in range(49)))
    text = "\n\n".join(f"[[ ## {name} ## ]]\n{_NUMBER}" for name in (*fields, "completed"))
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 150, "completion_tokens": 12, "total_tokens": 162}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": usage}).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reply, numbers = head.encode() + body, itertools.count(10 ** (len(_NUMBER) - 1))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                size = asked.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(size))
                await asyncio.sleep(latency_s)
                writer.write(reply.replace(_NUMBER.encode(), str(next(numbers)).encode()))
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def listen() -> None:
        running = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        port = running.sockets[0].getsockname()[1]
        tell.send(f"http://127.0.0.1:{port}/v1")
        await running.serve_forever()

    asyncio.run(listen())


if __name__ == "__main__":
    main()
