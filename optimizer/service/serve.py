"""Runs the service: the HTTP server in this process, and workers in processes of their own."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from optimizer.signals import signals_interrupt

logger = logging.getLogger(__name__)

SHUTDOWN_S = 30.0
"""How long workers may take to end; then they are killed, and their searches taken over later."""
_RESTART_S = 1.0
"""Before a worker that died is replaced."""


def listening(host: str, port: int | None, usual_port: int) -> socket.socket:
    """A socket that listens there; raises ValueError if none can."""
    port = usual_port if port is None else port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ValueError(f"can't listen on {host}, port {port}: {error}") from error


def address(server: socket.socket) -> str:
    """The URL of what listens there."""
    host, port, *_ = server.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run_server(app: FastAPI, server: socket.socket) -> None:
    """Serve until SIGTERM or ctrl-C; then connections have three seconds to end.

    Raises:
        KeyboardInterrupt: after that.
    """
    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=3, server_header=False
    )
    with signals_interrupt():  # uvicorn raises the signal again
        uvicorn.Server(config).run([server])


@contextmanager
def workers(number: int, database: str, options: Sequence[str]) -> Iterator[None]:
    """Within it, this many workers run; one that dies is replaced.

    Args:
        number: of workers.
        database: its address, which may hold a password and so travels in the environment.
        options: of `compound-optimizer worker`.
    """
    ending = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def keep_running() -> None:
        while not ending.is_set():
            for process in [each for each in running if each.poll() is not None]:
                logger.warning("worker %d ended (%s): starting another one",
                               process.pid, process.returncode)  # fmt: skip
                running.remove(process)
            try:
                while len(running) < number:
                    running.append(_start(database, options))
            except OSError as error:  # too many processes, or too little memory, at the moment
                logger.warning("a worker can't be started now: %s", error)
            ending.wait(_RESTART_S)

    thread = threading.Thread(target=keep_running, name="workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(SHUTDOWN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(database: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "optimizer.cli", "worker", "--parent", str(os.getpid())]
    environment = {**os.environ, "COMPOUND_OPTIMIZER_DATABASE": database}
    environment.pop("COMPOUND_OPTIMIZER_TOKEN", None)  # code of allowed folders need not see it
    return subprocess.Popen([*command, *options], env=environment)
