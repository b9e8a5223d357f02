"""One OpenAI-compatible server on 127.0.0.1 for all runs, open while any of them needs it."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from typing import ClassVar
from weakref import WeakSet

from pipelines.adapters.entrances.handler import EntranceHandler

LOOK_S = 0.05
"""How often the server looks whether anybody still needs it."""


class ServerLease:
    """The need of the server, for as long as this lives.

    Nothing has to be closed: who needs it may be left to the garbage collector, which may run in
    any thread and under any lock.
    """

    def __init__(self) -> None:
        self.address = _Server.address_for(self)
        """Without a path."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    """Code opens many connections at once; Python's default of 5 would reset some of them."""
    daemon_threads = True
    timeout = LOOK_S
    opening: ClassVar[threading.Lock] = threading.Lock()
    current: ClassVar[_Server | None] = None

    @classmethod
    def address_for(cls, lease: ServerLease) -> str:
        """The address of the server, which stays open for this lease."""
        with cls.opening:
            cls.current = cls.current or cls()
            cls.current.leases.add(lease)
            return f"http://127.0.0.1:{cls.current.server_address[1]}"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EntranceHandler)
        self.leases: WeakSet[ServerLease] = WeakSet()
        threading.Thread(target=self._serve, name="entrance", daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the code drops is no error of the server's."""

    def _serve(self) -> None:
        while self._is_needed():
            self.handle_request()
        self.server_close()

    def _is_needed(self) -> bool:
        with self.opening:  # held until the first lease is there
            if not self.leases:
                _Server.current = None
            return bool(self.leases)
