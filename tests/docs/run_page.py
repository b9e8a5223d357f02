"""Run the Python blocks of one page, in its order and in one namespace.

    python tests/docs/run_page.py docs/tracking.md

Hosted models are played by simulated ones (PLAYED_BY), the address of an own server (ADDRESS) by
the loopback server, whose models speak as simulated ones too, that of another one (SLOWER) by a
slower one, that of a search service (SERVICE) by one with a worker, and that of a Dask scheduler
(SCHEDULER) by a cluster of one: no keys, no network but 127.0.0.1.
It works in the current folder, and writes there what the page would.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.dask_cluster import DaskCluster
from benchmarks.loopback import BatchBehaviour, Behaviour, LoopbackServer
from pipelines.providers.simulated import MODELS, find_model, simulate, simulated_dataset
from tests.docs.pages import blocks

PLAYED_BY = {
    "openai/gpt-4o-mini": "sim/hazel",
    "anthropic/claude-haiku-4-5": "sim/alder",
    "gemini/gemini-2.5-flash": "sim/birch",
}
ADDRESS = "http://localhost:8000/v1"
SLOWER = "http://localhost:8001/v1"
SERVICE = "https://searches.example.com"
SCHEDULER = "tcp://scheduler.example.com:8786"


def main(page: Path) -> None:
    """Run all blocks of the page."""
    write_validation(Path("validation.jsonl"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with ExitStack() as stack:
        service = SERVICE
        if SERVICE in page.read_text(encoding="utf-8"):
            service = stack.enter_context(running_service())
        scheduler = SCHEDULER
        if any(SCHEDULER in block.text for block in blocks(page, "python")):
            scheduler = stack.enter_context(DaskCluster(1)).address
        batches = BatchBehaviour()
        server = stack.enter_context(LoopbackServer(reply=speak, batches=batches))
        slower = stack.enter_context(LoopbackServer(Behaviour.slow(0.4), reply=speak))
        for block in blocks(page, "python"):
            code = block.text.replace(ADDRESS, server.url).replace(SLOWER, slower.url)
            code = code.replace(SERVICE, service)
            code = code.replace(SCHEDULER, scheduler)
            for hosted, simulated in PLAYED_BY.items():
                code = code.replace(hosted, simulated)
            # the blank lines put tracebacks, and whoever looks for a function's source, right
            exec(compile("\n" * (block.line - 1) + code, str(page), "exec"), namespace)


@contextmanager
def running_service() -> Iterator[str]:
    """The address of a search service with one worker, in this folder."""
    from optimizer.service.database import Database
    from optimizer.service.tokens import token_of
    from optimizer.service.worker import Worker
    from tests.optimizer.service.served import Served

    url = "sqlite:///service.db"
    worker = os.fork()  # before there are threads
    if worker == 0:
        Worker(Database(url), {}).run()
        os._exit(0)
    served = Served(url, tokens=[token_of("reader", "the token")])
    try:
        yield served.address
    finally:
        served.stop()
        os.kill(worker, signal.SIGTERM)
        os.waitpid(worker, 0)


def write_validation(path: Path) -> None:
    """The dataset that pages speak of: table, question, answer."""
    rows = simulated_dataset("locate_solve", 16, seed=4)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def speak(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """What the simulated model of that name says; `hazel`, if there is none of that name."""
    known = {model.name for model in MODELS}
    name = params["model"] if params["model"] in known else "hazel"
    return simulate(find_model(name), messages, seed=params.get("seed") or 0).text


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
