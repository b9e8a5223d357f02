"""A scheduler of Dask and its workers, as processes of this machine that may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[1]


class DaskCluster:
    """Workers of one thread each; `client` is connected to their scheduler."""

    def __init__(self, workers: int) -> None:
        from distributed import Client

        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--port", "0")
        while not self._file.exists():
            assert self.scheduler.poll() is None, "the scheduler has ended"
            time.sleep(0.05)
        for _ in range(workers):
            self.add_worker()
        try:
            self.client: Any = Client(scheduler_file=str(self._file))
            if workers:
                self.client.wait_for_workers(workers)
        except BaseException:
            self.kill()
            raise

    @property
    def address(self) -> str:
        """The scheduler's."""
        return str(self.client.scheduler.address)

    def add_worker(self) -> None:
        """Start one more."""
        self.workers.append(self._start("worker", "--nthreads", "1", "--no-nanny"))

    def kill_worker(self) -> None:
        """Kill the oldest with SIGKILL."""
        worker = self.workers.pop(0)
        worker.kill()
        worker.wait()

    def kill(self) -> None:
        """Kill scheduler and workers with SIGKILL."""
        for process in (self.scheduler, *self.workers):
            process.kill()
            process.wait()

    def __enter__(self) -> DaskCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close(timeout=1)
        self.kill()
        self._folder.cleanup()

    def _start(self, role: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{role}", "--no-dashboard"]
        command += ["--host", "127.0.0.1"]
        return subprocess.Popen(
            [*command, "--scheduler-file", str(self._file), *options],
            cwd=self._folder.name,
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
