"""What gives first with 1,000 workers, 50 modules, 100 models and 100,000 examples, part by part.

    python -m benchmarks scale [--calls 20000] [--examples 100000] [--trials 20]

Each part is measured alone, at a size that this machine holds. Workers are connections of two other
processes, which answer after half a second without any provider; everything on the coordinator's
side is real. Memory is the process's growth.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import pickle
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from benchmarks.call_cpu import server
from benchmarks.many_machines import serve
from evaluators.dataset import Dataset
from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from optimizer import Budget, Gateway, Limit, Model, Module, Pipeline, optimize
from pipelines.gateway.call import LMCall
from pipelines.gateway.concurrency.event_loop import run
from pipelines.gateway.execution.call_life import CallLife
from pipelines.gateway.provider import ProviderReply
from pipelines.gateway.session import Session
from pipelines.workers import worker
from pipelines.workers.coordinator import Coordinator

T = TypeVar("T")

WORKERS, PROVIDERS, MODULES, MODELS, EXAMPLES = 1_000, 10, 50, 100, 100_000
LATENCY_S, IN_FLIGHT = 0.5, 400
"""Seconds of a call, and the limit of each provider."""
KEY = b"a key"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--trials", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan(options.examples)
        fan_out(Path(folder), options.calls)
        traces(Path(folder), 40)
        tracking(Path(folder), options.trials)


def plan(examples: int) -> None:
    """The checks at the door and the estimate of the whole search, which makes no call."""
    rows = {
        "question": [f"Question {number}?" for number in range(examples)],
        "answer": [str(number) for number in range(examples)],
    }
    with measuring(f"plan and estimate, {examples:,} examples") as report:
        estimate = optimize(chain(), rows, models("http://127.0.0.1:1/v1"), dry_run=True)
        report(f"it would take {estimate.to_dict()['calls']} calls")


def fan_out(folder: Path, count: int) -> None:
    """Calls through reservation, limits, 1,000 connections and settlement; no DSPy."""
    asked = models("http://127.0.0.1:{}/v1")
    limits = {model.provider: Limit(concurrency=IN_FLIGHT) for model in asked}
    gateway = Gateway(folder / "fan-out", limits=limits)
    session = gateway.session("scale", Budget(usd=1e6, calls=count))
    coordinator = Coordinator(KEY, 60.0)
    address = ("127.0.0.1", run(coordinator.listen("127.0.0.1")))
    with workers(address):
        while len(coordinator._workers) < WORKERS:
            time.sleep(0.1)
        session.workers = coordinator
        calls = [
            LMCall(asked[n % MODELS], ({"role": "user", "content": f"{n} " + "word " * 100},))
            for n in range(count)
        ]
        with measuring(f"{count:,} calls, {len(coordinator._workers):,} workers", count) as report:
            run(ask_all(session, calls))
            size = sum(path.stat().st_size for path in (folder / "fan-out").glob("cache.sqlite*"))
            report(f"{size / count:,.0f} bytes of cache a call; {session.spent.calls:,} charged")
        run(coordinator.close())
    gateway.close()


async def ask_all(session: Session, calls: Sequence[LMCall]) -> None:
    """All of them, as many in flight as the providers allow."""
    ahead = asyncio.Semaphore(PROVIDERS * IN_FLIGHT)

    async def ask(call: LMCall) -> None:
        async with ahead:
            await CallLife(session, call).run()

    await asyncio.gather(*map(ask, calls))


def traces(folder: Path, examples: int) -> None:
    """Runs of 50 modules with DSPy, over loopback HTTP, whose outcomes are kept."""
    with server(0.0, serve) as url:
        model = models(url)[0]
        data = Dataset.load(
            [{"question": f"Question {n}?", "answer": "x"} for n in range(examples)]
        )
        pipeline = chain()
        metric = resolve_metric("exact_match", pipeline.outputs, data.columns)
        gateway = Gateway(folder / "traces")
        evaluator = Evaluator(
            pipeline, {model.label: model}, data, metric, gateway.session("traces"), 16
        )
        config = pipeline.default_config(model.label)
        evaluator.run([(config, 0)])
        with measuring(f"{examples} runs of {MODULES} modules", examples * MODULES) as report:
            evaluator.run([(config, index) for index in range(examples)])
            outcome = evaluator.known(config).outcomes[0]
            report(f"an outcome with its trace pickles to {len(pickle.dumps(outcome)):,} bytes")
        gateway.close()


def tracking(folder: Path, trials: int) -> None:
    """Child runs as MLflow keeps them in SQLite: a parameter for each module, and ten metrics."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("scale")
    metrics = [Metric(f"metric_{n}", 0.5, 0, 0) for n in range(10)]
    params = [Param(f"module_{n}.model", "provider/model") for n in range(MODULES)]
    with measuring(f"{trials} trials in MLflow", trials):
        for _ in range(trials):
            made = client.create_run(experiment).info.run_id
            client.log_batch(made, metrics=metrics, params=params)
            client.set_terminated(made)


def chain() -> Pipeline:
    """Fifty modules, each of which reads what the one before it wrote."""
    names = ["question", *(f"note_{n}" for n in range(MODULES - 1)), "answer"]
    return Pipeline(
        "chain", [Module(f"step_{n}", f"{names[n]} -> {names[n + 1]}") for n in range(MODULES)]
    )


def models(url: str) -> list[Model]:
    """A hundred of them, behind ten addresses if the address has a place for a number."""
    return [
        Model(
            "openai/echo", label=f"model-{n}", api_base=url.format(9000 + n % PROVIDERS),
            input_usd_per_million=1, output_usd_per_million=1, max_tokens=300,
        )
        for n in range(MODELS)
    ]  # fmt: skip


@contextmanager
def measuring(what: str, count: int = 1) -> Iterator[Callable[[str], None]]:
    """Print seconds and CPU, in all and a piece, and what is reported within."""
    notes: list[str] = []
    before, wall, cpu = memory(), time.perf_counter(), time.process_time()
    yield notes.append
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"{what}: {wall:.1f} s ({count / wall:,.0f} a second), {1000 * cpu / count:.2f} ms of CPU "
        f"each, {memory() - before:,.0f} MB more; {'; '.join(notes)}",
        flush=True,
    )


def memory() -> float:
    """The most that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def workers(address: tuple[str, int]) -> Iterator[None]:
    """Two processes of 500 connections each."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=answer, args=(address, WORKERS // 2), daemon=True) for _ in range(2)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def answer(address: tuple[str, int], connections: int) -> None:
    """Workers whose provider answers after half a second."""

    class Quick:
        async def send(self, call: LMCall, timeout_s: float) -> ProviderReply:
            await asyncio.sleep(LATENCY_S)
            return ProviderReply("x" * 400, "stop", LATENCY_S, 150, 100)

    def quick(_model: Any) -> Quick:
        return Quick()

    with patch.object(worker, "provider_of", quick), ThreadPoolExecutor(connections) as threads:
        for _ in range(connections):
            threads.submit(worker.serve, [address], KEY)


if __name__ == "__main__":
    main()
