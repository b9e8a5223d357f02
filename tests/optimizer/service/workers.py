"""Workers as the service runs them, forked from one process that has imported everything.

    python tests/optimizer/service/workers.py DATABASE NUMBER LEASE_SECONDS

The file `workers` in the working folder lists their process ids. One that dies is replaced, until
this process is asked to end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn


def main(url: str, number: int, lease_s: float) -> None:
    signal.signal(signal.SIGTERM, _end)
    running: set[int] = set()
    try:
        while True:
            while len(running) < number:
                running.add(_start(url, lease_s))
                draft = Path("workers.new")
                draft.write_text(" ".join(map(str, sorted(running))), encoding="utf-8")
                draft.replace("workers")
            pid, _ = os.waitpid(-1, os.WNOHANG)
            running.discard(pid)
            time.sleep(0.05)
    except SystemExit:
        for pid in running:
            os.kill(pid, signal.SIGTERM)
        for pid in running:
            os.waitpid(pid, 0)


def _start(url: str, lease_s: float) -> int:
    pid = os.fork()
    if pid == 0:
        from optimizer.service.database import Database
        from optimizer.service.worker import Worker

        Worker(Database(url), {}, lease_s=lease_s, parent=os.getppid()).run()
        os._exit(0)
    return pid


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
