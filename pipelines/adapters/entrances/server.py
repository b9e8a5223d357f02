"""One OpenAI-compatible server on 127.0.0.1 for all runs, open while any of them needs it.

Paths are `/<token>/<module>/v1/chat/completions`, and each request has a connection of its own:
code may keep its clients open, and each would hold a thread and two sockets of ours.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from weakref import WeakSet

from pipelines.adapters.entrances.askers import RunEnded, asker_of
from pipelines.adapters.entrances.chat_request import RefusedRequest, chat_request
from pipelines.adapters.entrances.openai_form import CODES, STATUSES, as_chunks, completion
from pipelines.gateway.call import CallFailed

logger = logging.getLogger(__name__)

POLL_S = 0.05
"""How often the server checks whether a lease still needs it."""
MOST_CONNECTIONS = 512
"""Each has a thread; further ones wait until one ends."""
RECEIVE_S, RECEIVE_WHEN_FULL_S = 30.0, 2.0
"""How long a request may take to arrive, and how long if others wait."""
MOST_BYTES = 32 << 20
"""The longest body of a request."""
_DISCARDED_BYTES = 1 << 20
"""Of a body that is not read: else closing the connection may take the error reply with it."""
_RUN_ENDED = 402
"""The status of every request of a run that has ended; clients retry many others."""


class ServerLease:
    """Keeps the server open for as long as this lives.

    Nothing has to be closed: the garbage collector may end a lease in any thread, under any lock.
    """

    def __init__(self) -> None:
        self.address = EntranceServer.address_for(self)
        """Without a path."""


class EntranceServer(ThreadingHTTPServer):
    """Serves in a thread of its own, until there is no lease."""

    request_queue_size = 1024
    """Code opens many connections at once; Python's default of 5 would reset some of them."""
    daemon_threads = True
    timeout = POLL_S
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
        super().__init__(("127.0.0.1", 0), _Handler)
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
        """Log errors, except for connections that the code dropped."""
        if not isinstance(sys.exc_info()[1], OSError):
            logger.exception("a request of plain Python code could not be answered")

    def _serve(self) -> None:
        while self._is_needed():
            self._end_slow_ones()
            if len(self._open) < MOST_CONNECTIONS:
                self.handle_request()
            else:
                time.sleep(POLL_S)
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


class _Handler(BaseHTTPRequestHandler):
    """Hands a request to the run that it belongs to, and its reply back to the code."""

    timeout = 60.0
    """Seconds to wait for the code to take its reply; the server ends what arrives too slowly."""
    wbufsize = 1 << 16
    server: EntranceServer

    def do_GET(self) -> None:
        """List the one model that there is; some clients ask for it first."""
        token, module, rest = self._place()
        if rest != ["v1", "models"]:
            self._send_error(404, f"there is no {'/'.join(rest)!r} here", "not_found")
            return
        self.server.received(self.connection)
        model = {"id": f"compound/{token}/{module}", "object": "model", "owned_by": "compound"}
        self._send_json(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        """Complete a chat; refused and failed requests carry `x-should-retry: false`."""
        token, module, rest = self._place()
        unread = 0
        try:
            unread = self._length()
            asker = asker_of(token)
            if unread > MOST_BYTES:
                problem = f"a request has at most {MOST_BYTES:,} bytes, but this one {unread:,}"
                self._send_error(413, problem, "request_too_large", unread)
                return
            fields, unread = self._fields(unread), 0
            if rest != ["v1", "chat", "completions"]:
                raise RefusedRequest(
                    f"the gateway answers chat/completions alone, and not {'/'.join(rest[1:])!r}"
                )
            request = chat_request(fields.get("messages"), fields)
            replies = asker.ask(module, request)
        except RefusedRequest as refused:
            self._send_error(400, str(refused), "invalid_request_error", unread)
        except CallFailed as failure:
            kind = failure.kind
            self._send_error(STATUSES.get(kind, 400), str(failure), CODES.get(kind, kind))
        except RunEnded as ended:
            self._send_error(_RUN_ENDED, f"the run has ended: {ended}", "run_ended")
        else:
            whole = completion(str(fields.get("model")), replies)
            if fields.get("stream"):
                options = fields.get("stream_options")
                usage = isinstance(options, dict) and bool(options.get("include_usage"))
                events = [*map(json.dumps, as_chunks(whole, usage)), "[DONE]"]
                text = "".join(f"data: {event}\n\n" for event in events)
                self._send(200, text, **{"Content-Type": "text/event-stream"})
            else:
                self._send_json(200, whole)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: calls are in traces and in the ledger."""

    def _place(self) -> tuple[str, str, list[str]]:
        parts = self.path.partition("?")[0].strip("/").split("/")
        token, module, *rest = [*parts, "", ""]
        return token, module, [part for part in rest if part]

    def _length(self) -> int:
        length = self.headers.get("Content-Length") or "0"
        if not (length.isascii() and length.isdigit()):
            raise RefusedRequest(f"Content-Length must be a whole number, but got {length!r}")
        return int(length[:18])

    def _fields(self, length: int) -> dict[str, Any]:
        body = self.rfile.read(length)
        self.server.received(self.connection)
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise RefusedRequest("the body of the request must be a JSON object")
        return fields

    def _send_error(self, status: int, message: str, code: str, unread: int = 0) -> None:
        error = {"message": message, "type": code, "code": code}
        self._send_json(status, {"error": error}, **{"x-should-retry": "false"})
        self.wfile.flush()
        self.rfile.read(min(unread, _DISCARDED_BYTES))

    def _send_json(self, status: int, value: Any, **headers: str) -> None:
        self._send(status, json.dumps(value), **{"Content-Type": "application/json", **headers})

    def _send(self, status: int, text: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
