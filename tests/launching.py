"""Processes that need not import anything: forked from one that has imported everything already.

An import of all that a search uses takes longer than most searches of the tests.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]

LAUNCHER = """
import gc, json, os, sys
gc.disable()  # it would look through millions of objects, none of which is garbage
from optimizer.cli import main
from tests.launching import act, import_all

import_all()
gc.freeze()
gc.enable()
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        sys.exit(act(json.loads(line), main))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

USED = (
    "optimizer.loop",
    "pipelines.providers.litellm",
    "dspy.clients.execution",
    "optimizer.tracking.outputs",
    "optimizer.cli.tune",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "tests.docs.run_page",
    "tests.optimizer.runs",
)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python arguments` in a process of its own, which can import the rooms."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True
    )


class Launcher:
    """Starts one process at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def start(self, folder: Path, environment: Mapping[str, str] | None = None, **job: Any) -> int:
        """Its number. It works in `folder`, where `out` and `err` take what it prints.

        Its environment is the caller's of now, and what is given.
        """
        environment = {**os.environ, **(environment or {})}
        told = {"folder": str(folder), "environment": environment, **job}
        self._stdin.write(json.dumps(told) + "\n")
        self._stdin.flush()
        return int(self._stdout.readline())

    def wait(self) -> int:
        """Its exit code, which is negative for a signal."""
        return int(self._stdout.readline())

    def ran(self, folder: Path, script: Path, *arguments: str) -> str:
        """What the script prints, as `python script arguments` would; it must succeed."""
        self.start(folder, script=[str(script), *arguments])
        code = self.wait()
        out, err = ((folder / name).read_text() for name in ("out", "err"))
        assert code == 0, f"{out[-2000:]}\n{err[-4000:]}"
        return out


@contextlib.contextmanager
def launcher(repository: Path) -> Iterator[Launcher]:
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield Launcher(process)
    process.communicate()


def import_all() -> None:
    """What a search, its report and its model import."""
    from optimizer.tracking.tracker import import_mlflow
    from pipelines.providers.litellm.litellm_import import load_litellm

    load_litellm()
    import_mlflow()
    for name in USED:
        importlib.import_module(name)


def act(job: Mapping[str, Any], main: Callable[[list[str]], int]) -> int:
    """In the new process: tune, run a command line or a script; the exit code."""
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if "command" in job:
        return main(job["command"])
    if "script" in job:
        sys.argv = job["script"]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        tune_served(**job["tune"])
    return 0


def tune_served(
    url: str,
    cache: str,
    result: str,
    names: list[str],
    caps: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> None:
    """Tune on the models behind a server, and write the outcome down."""
    from pipelines.gateway.budget import Budget
    from tests.optimizer.runs import outcome, served_model, tune

    models = [served_model(url, name) for name in names]
    arguments["budget"] = Budget(**(caps or {}))
    Path(result).write_text(outcome(tune(models=models, cache=Path(cache), **arguments)))


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.001)
