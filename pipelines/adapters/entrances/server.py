"""One OpenAI-compatible server on 127.0.0.1 for all runs, open while any of them needs it."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar
from weakref import WeakSet

from pipelines.adapters.entrances.handler import EntranceHandler

logger = logging.getLogger(__name__)

LOOK_S = 0.05
"""How often the server looks whether anybody still needs it."""
MOST_CONNECTIONS = 512
"""Each has a thread; further ones wait until one ends."""
RECEIVE_S, RECEIVE_WHEN_FULL_S = 30.0, 2.0
"""How long a request may take to arrive, and how long if others wait."""


class ServerLease:
    """The need of the server, for as long as this lives.

    Nothing has to be closed: who needs it may be left to the garbage collector, which may run in
    any thread and under any lock.
    """

    def __init__(self) -> None:
        self.address = EntranceServer.address_for(self)
        """Without a path."""


class EntranceServer(ThreadingHTTPServer):
    """Serves in a thread of its own, until there is no lease."""

    request_queue_size = 1024
    """Code opens many connections at once; Python's default of 5 would reset some of them."""
    daemon_threads = True
    timeout = LOOK_S
    opening: ClassVar[threading.Lock] = threading.Lock()
    current: ClassVar[EntranceServer | None] = None

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
        self._open: dict[socket.socket, float | None] = {}
        """When each connection began; None once its request has arrived."""
        threading.Thread(target=self._serve, name="entrance", daemon=True).start()

    def received(self, connection: socket.socket) -> None:
        """The request of this connection is complete, and its answer may take its time."""
        self._open[connection] = None

    def process_request(self, request: Any, client_address: Any) -> None:
        """See socketserver; in a thread of its own."""
        self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """See socketserver; at the end of a connection, however it ended."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the code drops is no error of the server's; all else is logged."""
        if not isinstance(sys.exc_info()[1], OSError):
            logger.exception("a request of plain Python code could not be answered")

    def _serve(self) -> None:
        while self._is_needed():
            self._end_slow_ones()
            if len(self._open) < MOST_CONNECTIONS:
                self.handle_request()
            else:
                time.sleep(LOOK_S)
        self.server_close()

    def _end_slow_ones(self) -> None:
        full = len(self._open) >= MOST_CONNECTIONS
        began_before = time.monotonic() - (RECEIVE_WHEN_FULL_S if full else RECEIVE_S)
        for connection, began in list(self._open.items()):
            if began is not None and began < began_before:
                with suppress(OSError):  # it has ended just now
                    connection.shutdown(socket.SHUT_RDWR)

    def _is_needed(self) -> bool:
        with self.opening:  # held until the first lease is there
            if not self.leases:
                EntranceServer.current = None
            return bool(self.leases)
