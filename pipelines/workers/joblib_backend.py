"""Starts workers by the joblib backend that the user chose, and keeps starting those that end."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from pipelines.gateway.concurrency.event_loop import run
from pipelines.gateway.session import Session
from pipelines.gateway.workers import WorkersGone
from pipelines.workers.coordinator import Coordinator
from pipelines.workers.worker import Address, serve

logger = logging.getLogger(__name__)

_FIRST_S = 60.0
"""How long the first worker may take to connect."""
_LAST_PAUSE_S = 10.0
_SPARE = 2
"""So many tasks for each place that the backend has: later workers take those that wait."""


class NoWorkers(RuntimeError):
    """Workers were asked for, and there are none."""


@contextmanager
def on_workers(session: Session) -> Iterator[None]:
    """Within it, workers of the active joblib backend make the session's calls.

    Nothing changes without `joblib.parallel_config(...)`, or if that names threads.

    Raises:
        NoWorkers: none connects, or none was connected for too long; says why.
    """
    found = _active_backend()
    if found is None:
        yield
        return
    started = _Started(*found, session.gateway.outage_s)
    try:
        started.wait_for_first()
        session.workers = started.coordinator
        yield
    except WorkersGone as gone:
        kept = "What was answered is kept: the same search, started again, goes on from there"
        raise NoWorkers(f"{gone}. {kept}") from None
    finally:
        session.workers = None
        started.close()


def _active_backend() -> tuple[Any, int] | None:
    """The backend of processes that `joblib.parallel_config` names, and how many of its places."""
    joblib = sys.modules.get("joblib")
    if joblib is None:  # nobody can have named one
        return None
    # without a backend by name, a preference for threads decides
    backend, jobs = joblib.parallel.get_active_backend(prefer="threads")
    if getattr(backend, "supports_sharedmem", False):
        return None
    jobs = -1 if jobs is None else jobs  # Ray's backend would default to a single one
    return None if jobs == 1 else (backend, jobs)  # joblib itself would use this process, too


class _Started:
    """A coordinator, and the thread in which joblib runs its workers."""

    def __init__(self, backend: Any, jobs: int, outage_s: float) -> None:
        self._backend = backend
        self._jobs = jobs
        self._key = secrets.token_bytes(32)
        self._closed = threading.Event()
        self._ended = threading.Event()
        """Set when joblib's tasks have ended once."""
        self._problem = ""
        self.coordinator = Coordinator(self._key, outage_s)
        self.coordinator.problem = lambda: self._problem
        is_local = type(backend).__name__ in ("LokyBackend", "MultiprocessingBackend")
        port = run(self.coordinator.listen("127.0.0.1" if is_local else "0.0.0.0"))
        hosts = ["127.0.0.1"] if is_local else _own_addresses()
        self._addresses: list[Address] = [(host, port) for host in hosts]
        self._thread = threading.Thread(target=self._keep_serving, name="workers", daemon=True)
        self._thread.start()

    def wait_for_first(self) -> None:
        """Return when a worker is connected; raise NoWorkers if that will not happen."""
        if not run(self._connects()):
            refused = list(self.coordinator.refused.values())
            here = ", ".join(f"{host}:{port}" for host, port in self._addresses)
            why = "; ".join(refused[:3] or filter(None, [self._problem])) or (
                f"none has connected within {_FIRST_S:.0f} s. Workers must be able to reach this "
                f"machine, at one of {here}"
            )
            name = type(self._backend).__name__
            raise NoWorkers(f"joblib's {name} has no worker that makes calls: {why}")

    def close(self) -> None:
        """Disconnect the workers."""
        self._closed.set()
        run(self.coordinator.close())
        self._thread.join(timeout=5.0)  # a scheduler that is gone must not hold this up

    async def _connects(self) -> bool:
        """Whether a worker connects before joblib's tasks have ended, and in time."""
        connected = self.coordinator.connected
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_S):
                while not connected.is_set() and not self._ended.is_set():
                    await asyncio.sleep(0.05)
        return connected.is_set()

    def _keep_serving(self) -> None:
        from joblib import delayed

        pause_s = 0.5
        while not self._closed.is_set():
            try:
                jobs = self._backend.effective_n_jobs(self._jobs)
                tasks = [delayed(serve)(self._addresses, self._key)] * (jobs * _SPARE)
                _parallel(self._backend, self._jobs)(tasks)
                self._problem = "all of joblib's tasks have ended"
            except Exception as error:
                self._problem = f"{type(error).__name__}: {error}".partition("\n")[0]
                logger.info("workers ended: %s", self._problem)
            self._ended.set()
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)


def _parallel(backend: Any, jobs: int) -> Any:
    from joblib import Parallel

    class OnWorkers(Parallel):
        """Leaves no job to this process, as joblib would where the backend has one place."""

        def _initialize_backend(self) -> int:
            return max(2, int(super()._initialize_backend()))

    return OnWorkers(n_jobs=jobs, backend=backend, batch_size=1, pre_dispatch="all")


def _own_addresses() -> list[str]:
    """Where other machines may find this one; the loopback address serves those on it."""
    found = ["127.0.0.1"]
    with suppress(OSError):
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    with suppress(OSError), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: only chooses the way out
        found.append(probe.getsockname()[0])
    return list(dict.fromkeys(found))
