"""HTTP of the entrance: `/<token>/<module>/v1/chat/completions`, a connection for each request.

Connections are not kept alive: code keeps its clients for as long as it likes, and each would hold
a thread and two sockets of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from pipelines.adapters.entrances.askers import RunEnded, asker_of
from pipelines.adapters.entrances.chat_request import RefusedRequest, chat_request
from pipelines.adapters.entrances.openai_form import (
    as_chunks,
    code_of,
    completion,
    error,
    status_of,
)
from pipelines.gateway.call import CallFailed

if TYPE_CHECKING:
    from pipelines.adapters.entrances.server import EntranceServer

_CHAT = ["v1", "chat", "completions"]
_RUN_ENDED = 402
"""The status of all that an ended run asks; clients try many others again."""
MOST_BYTES = 32 << 20
"""The longest body of a request."""
_DISCARDED_BYTES = 1 << 20
"""Of a body that is not read: else closing the connection may take the refusal with it."""


class EntranceHandler(BaseHTTPRequestHandler):
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
        self._send(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        """Complete a chat; what can't be sent on, and what failed, is not to be tried again."""
        token, module, rest = self._place()
        left = 0
        try:
            left = self._length()
            asker = asker_of(token)
            if left > MOST_BYTES:
                problem = f"a request has at most {MOST_BYTES:,} bytes, but this one {left:,}"
                self._send_error(413, problem, "request_too_large", left)
                return
            fields, left = self._fields(left), 0
            if rest != _CHAT:
                raise RefusedRequest(
                    f"the gateway answers chat/completions alone, and not {'/'.join(rest[1:])!r}"
                )
            request = chat_request(fields.get("messages"), fields)
            replies = asker.ask(module, request)
        except RefusedRequest as refused:
            self._send_error(400, str(refused), "invalid_request_error", left)
        except CallFailed as failure:
            self._send_error(status_of(failure), str(failure), code_of(failure))
        except RunEnded as ended:
            self._send_error(_RUN_ENDED, f"the run has ended: {ended}", "run_ended")
        else:
            whole = completion(str(fields.get("model")), replies)
            if fields.get("stream"):
                options = fields.get("stream_options")
                usage = isinstance(options, dict) and bool(options.get("include_usage"))
                self._send_stream(as_chunks(whole, usage))
            else:
                self._send(200, whole)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: traces and the ledger tell of calls."""

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
        self._send(status, error(message, code), **{"x-should-retry": "false"})
        self.wfile.flush()
        self.rfile.read(min(unread, _DISCARDED_BYTES))

    def _send_stream(self, chunks: Iterable[Mapping[str, Any]]) -> None:
        events = [*map(json.dumps, chunks), "[DONE]"]
        text = "".join(f"data: {event}\n\n" for event in events)
        self._send_text(200, text, **{"Content-Type": "text/event-stream"})

    def _send(self, status: int, value: Mapping[str, Any], **headers: str) -> None:
        text = json.dumps(value)
        self._send_text(status, text, **{"Content-Type": "application/json", **headers})

    def _send_text(self, status: int, text: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
