"""Processes to be killed: forked from one that has imported everything already."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

LAUNCHER = """
import json, os, sys
from optimizer.cli import main
from optimizer.tracking.tracker import import_mlflow
from pipelines.llms.litellm_import import load_litellm
from tests.optimizer.launching import act
import tests.optimizer.runs

load_litellm()
import_mlflow()
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        act(json.loads(line), main)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Launcher:
    """Starts one process at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def start(self, folder: Path, **job: Any) -> int:
        """Its number. It works in `folder`, where `out` and `err` take what it prints."""
        self._stdin.write(json.dumps({"folder": str(folder), **job}) + "\n")
        self._stdin.flush()
        return int(self._stdout.readline())

    def wait(self) -> int:
        """Its exit code, which is negative for a signal."""
        return int(self._stdout.readline())


@contextlib.contextmanager
def launcher(repository: Path) -> Iterator[Launcher]:
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield Launcher(process)
    process.communicate()


def act(job: Mapping[str, Any], main: Callable[[list[str]], int]) -> None:
    """In the new process: tune, or run a command line, and end."""
    os.chdir(job["folder"])
    os.environ.update(job.get("environment", {}))
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if "command" in job:
        code = main(job["command"])
    else:
        tune_served(**job["tune"])
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def tune_served(url: str, cache: str, result: str, names: list[str], **arguments: Any) -> None:
    """Tune on the models behind a server, and write the outcome down."""
    from tests.optimizer.runs import outcome, served_model, tune

    models = [served_model(url, name) for name in names]
    Path(result).write_text(outcome(tune(models=models, cache=Path(cache), **arguments)))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.001)
