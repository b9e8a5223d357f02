"""HTTP of the loopback server: one thread per connection, kept alive as HTTP/1.1 does."""

from __future__ import annotations

import json
import math
import selectors
import socket
import struct
import time
from collections.abc import Mapping
from copy import deepcopy
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from benchmarks.loopback.behaviour import Behaviour, LoopbackRequest
from benchmarks.loopback.refusals import RefusedRequest

if TYPE_CHECKING:
    from benchmarks.loopback.server import LoopbackServer


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers `POST .../chat/completions`, `GET .../models`, and those of batches."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    """Headers and body leave in one packet: two would wait 40 ms for a delayed ACK."""
    owner: LoopbackServer
    """Set on a subclass by the server that it belongs to."""

    def do_GET(self) -> None:
        """List the models, or look at a batch or a file of one."""
        try:
            self._look()
        except RefusedRequest as error:
            self._send_json(error.status, error.body)

    def _look(self) -> None:
        batches = self.owner.batches
        if self.path.rstrip("/").endswith("/models"):
            data = [{"id": name, "object": "model"} for name in self.owner.prices]
            self._send_json(200, {"object": "list", "data": data})
        elif batches and self.path.endswith("/content"):
            self._send(Behaviour(), batches.content(self.path.split("/")[-2]))
        elif batches and "/batches/" in self.path:
            self._send_json(200, batches.look(self.path.split("/")[-1]))
        else:
            raise RefusedRequest(404, "not_found", f"no {self.path} here")

    def do_POST(self) -> None:
        """Complete a chat as the script says, or take a file or a batch."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        batches = self.owner.batches
        try:
            if batches and self.path.endswith("/files"):
                self._send_json(200, batches.upload(self.headers["Content-Type"], body))
            elif batches and self.path.endswith("/batches"):
                headers = {name.lower(): value for name, value in self.headers.items()}
                taken = batches.create(json.loads(body)["input_file_id"], headers)
                if batches.behaviour.answers:
                    self._send_json(200, taken)
                else:
                    self._fail(Behaviour.reset())
            else:
                self._complete(self._parsed(body))
        except RefusedRequest as error:
            self._send_json(error.status, error.body)
        except ConnectionError:  # the client gave up: nobody is left to tell
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the server's counts are its log."""

    def _parsed(self, body: bytes) -> dict[str, Any]:
        if not self.path.endswith("/chat/completions"):
            raise RefusedRequest(404, "not_found", f"no {self.path} here")
        try:
            fields = json.loads(body)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or not {"model", "messages"} <= fields.keys():
            raise RefusedRequest(400, "invalid_request", "want an object with model and messages")
        if fields.get("stream"):
            raise RefusedRequest(400, "invalid_request", "no streams here")
        return fields

    def _complete(self, fields: dict[str, Any]) -> None:
        messages = fields.pop("messages")
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.owner.meter.request(fields["model"]) as index:
            request = LoopbackRequest(index, fields["model"], messages, fields, headers)
            behaviour, completion = self.owner.serve(request)
            share = self._share_waited_for(behaviour.latency_s)
            self.owner.end(request, completion, share)
            if share < 1:
                self.close_connection = True
            elif behaviour.fault:
                self._fail(behaviour)
            else:
                self._answer(behaviour, completion)

    def _answer(self, behaviour: Behaviour, completion: Mapping[str, Any]) -> None:
        if behaviour.raw is not None:
            self.close_connection = True
            self.wfile.write(behaviour.raw)
            self.wfile.flush()
        elif behaviour.body is not None:
            self._send(behaviour, behaviour.body)
        elif behaviour.status >= 400:
            told = RefusedRequest(behaviour.status, "scripted", f"scripted {behaviour.status}")
            self._send(behaviour, json.dumps(told.body))
        else:
            edited = behaviour.edit(deepcopy(dict(completion))) if behaviour.edit else completion
            self._send(behaviour, json.dumps(edited))

    def _fail(self, behaviour: Behaviour) -> None:
        self.close_connection = True
        if behaviour.fault == "hang":
            self._client_left_within(None)
            self.owner.abandon()
            return
        # Lingering for no time makes close() send RST; all three handles hold the socket open.
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        for handle in (self.rfile, self.wfile, self.connection):
            handle.close()

    def _share_waited_for(self, seconds: float) -> float:
        """Wait; 1, or the share of the time after which the client left."""
        started = time.monotonic()
        if not self._client_left_within(seconds):
            return 1.0
        return min((time.monotonic() - started) / seconds, math.nextafter(1.0, 0.0))

    def _client_left_within(self, seconds: float | None) -> bool:
        """Wait; True as soon as the connection ends. A client that waits sends nothing."""
        if seconds == 0:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def _send_json(self, status: int, value: Mapping[str, Any]) -> None:
        self._send(Behaviour(status=status), json.dumps(value))

    def _send(self, behaviour: Behaviour, text: str) -> None:
        body = text.encode()
        self.send_response(behaviour.status)
        for name, value in behaviour.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", behaviour.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
