"""What stands between a test and a model's server: outages, resets, and a memory of replies."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import urllib.request
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


class Door:
    """A TCP proxy on 127.0.0.1 in front of a server, in a thread of its own.

        with Door("http://127.0.0.1:9101/v1") as door:
            Model(..., api_base=door.url)

    `close()` refuses connections until `open()`, and `reset()` breaks off requests in flight.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._server = parts.hostname, parts.port or 80
        self._path = parts.path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: asyncio.Server | None = None
        self._port = 0
        self._clients: dict[asyncio.StreamWriter, bool] = {}
        """By connection, whether a request waits for its reply."""
        self.requests = 0
        self.abandoned = 0
        """Requests whose client closed the connection before the reply."""
        self.broken = 0
        """Requests that were in flight at a reset."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._path}"

    @property
    def in_flight(self) -> int:
        return sum(list(self._clients.values()))

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> None:
        """Accept connections, at the same port as before."""
        self._run(self._open())

    def close(self) -> None:
        """Refuse further connections and reset those that there are."""
        self._run(self._close())

    def reset(self) -> None:
        """Reset all connections; new ones are accepted."""
        self._run(self._reset())

    def _run(self, task: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(task, self._loop).result()

    async def _open(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._reset()
        while self._clients:
            await asyncio.sleep(0.01)

    async def _reset(self) -> None:
        for client, waits in list(self._clients.items()):
            self.broken += waits
            self._clients[client] = False
            client.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            client.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._clients[client] = False
        try:
            from_server, server = await asyncio.open_connection(*self._server)
        except OSError:
            del self._clients[client]
            client.transport.abort()
            return
        replies = asyncio.ensure_future(self._pass_replies(from_server, client))
        try:
            while data := await reader.read(1 << 16):
                self.requests += not self._clients[client]
                self._clients[client] = True
                server.write(data)
            self.abandoned += self._clients[client]
        except ConnectionError:
            pass  # reset, by us or by the client
        finally:
            del self._clients[client]
            replies.cancel()
            server.close()
            client.close()

    async def _pass_replies(
        self, from_server: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while data := await from_server.read(1 << 16):
            self._clients[client] = False
            client.write(data)
        client.close()


class RememberingProxy:
    """An HTTP proxy that puts equal requests at temperature 0 to the server once.

    So two clients that ask the same get the same, at half the price: where two tokens are nearly
    equally likely, what a server decodes greedily depends on what else it does just then. The seed,
    which decides nothing at temperature 0, may differ, and the name of the limit of tokens.
    """

    def __init__(self, url: str) -> None:
        self._target = url
        self._replies: dict[str, Future[bytes]] = {}
        self._lock = threading.Lock()
        self.asked: list[str] = []
        """Every request, in one form."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                reply = proxy.reply(self.rfile.read(int(self.headers["Content-Length"])))
                with suppress(ConnectionError):  # the client is gone
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(reply)))
                    self.end_headers()
                    self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, body: bytes) -> bytes:
        """The server's reply to a request, or what it replied to an equal one."""
        params = json.loads(body)
        params.pop("seed", None)
        params.setdefault("max_tokens", params.pop("max_completion_tokens", None))
        assert params["temperature"] == 0
        key = json.dumps(params, sort_keys=True)
        with self._lock:
            self.asked.append(key)
            known = self._replies.get(key)
            made = self._replies[key] = known or Future()
        if known is None:
            try:
                made.set_result(self._forward(body))
            except BaseException as error:
                made.set_exception(error)
        return made.result()

    def _forward(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._target}/chat/completions", body, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as answered:
            reply: bytes = answered.read()
        return reply
