"""An OpenAI-compatible server on 127.0.0.1 that counts, prices and misbehaves on request."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any

from benchmarks.loopback.batches import BatchBehaviour, LoopbackBatches
from benchmarks.loopback.behaviour import (
    Behaviour,
    LoopbackRequest,
    Script,
    behaviour_for,
)
from benchmarks.loopback.handler import LoopbackHandler
from benchmarks.loopback.metering import (
    CountTokens,
    Meter,
    Price,
    Usage,
    cut,
    input_tokens,
    quarter_of_bytes,
)
from benchmarks.loopback.refusals import RefusedRequest
from benchmarks.loopback.replies import Reply, echo

FREE = Price(0.0, 0.0)


class LoopbackServer:
    """A fake provider for tests and demonstrations, over real HTTP.

        with LoopbackServer(prices={"tiny": Price(0.15, 0.6)}) as server:
            model = Model("openai/tiny", api_base=server.url, api_key_env=...)

    Args:
        script: How it treats each request; well, if not given.
        reply: What its models say, or which tools they call; `echo`, if not given.
        prices: Dollars per million tokens by model. If given, other models are 404; if not, every
            name is served for free.
        count_tokens: Its tokenizer.
        api_key: If given, requests without this bearer token are 401.
        bills_abandoned: Whether requests whose client leaves are charged in full; if not, for the
            input and for as much of the output as was written by then, in even pace.
        batches: Its batch endpoint; none, if not given.
        port: Where it listens; 0 takes any that is free.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        reply: Reply = echo,
        prices: Mapping[str, Price] | None = None,
        count_tokens: CountTokens = quarter_of_bytes,
        api_key: str | None = None,
        bills_abandoned: bool = True,
        batches: BatchBehaviour | None = None,
        port: int = 0,
    ) -> None:
        self.prices: Mapping[str, Price] = dict(prices or {})
        self.meter = Meter()
        self.batches = LoopbackBatches(self, batches) if batches else None
        self._script = Behaviour() if script is None else script
        self._reply = reply
        self._count_tokens = count_tokens
        self._api_key = api_key
        self._bills_abandoned = bills_abandoned
        self._is_closing = False
        handler = type("Handler", (LoopbackHandler,), {"owner": self})
        self._http = _Connections(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The `api_base`: `http://127.0.0.1:<port>/v1`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def usd(self) -> float:
        """What it charged so far, in dollars: for every run of a model, answered or not."""
        return self.meter.usd

    @property
    def requests(self) -> int:
        """Completions that it was asked for so far, however they ended."""
        return self.meter.requests

    def __enter__(self) -> LoopbackServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and end every open connection."""
        self._is_closing = True
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    def serve(
        self, request: LoopbackRequest, share: float = 1.0
    ) -> tuple[Behaviour, Mapping[str, Any]]:
        """Run the model, unless the script refuses, and charge for it if that is due by now.

        It is charged that share of the price.

        Raises:
            RefusedRequest: wrong key, or a model that is not served.
        """
        self.admit(request)
        behaviour = behaviour_for(self._script, request)
        if not behaviour.billed:
            return behaviour, {}
        said = self._reply(request.messages, request.params)
        most = request.params.get("max_completion_tokens") or request.params.get("max_tokens")
        message = dict(said) if isinstance(said, Mapping) else {"content": said}
        text, reason = cut(message["content"] or "", most, self._count_tokens)
        written = text
        if "tool_calls" in message:
            reason, written = "tool_calls", text + json.dumps(message["tool_calls"])
        message |= {"role": "assistant", "content": None if message["content"] is None else text}
        count = int(request.params.get("n") or 1)
        most_written = behaviour.output_tokens
        if most_written is None:
            most_written = count * self._count_tokens(written)
        sent = input_tokens(request.messages, request.params, self._count_tokens)
        usage = Usage(sent, most_written)
        if self._bills_abandoned:
            price = self.prices.get(request.model, FREE)
            self.meter.bill(usage, Price(share * price.input, share * price.output))
        choices = count if behaviour.choices else 0
        return behaviour, _completion(request, message, reason, usage, choices)

    def end(self, request: LoopbackRequest, completion: Mapping[str, Any], share: float) -> None:
        """The client waited for that share of the time: charge for it, if not done before."""
        if share < 1:
            self.abandon()
        if completion and not self._bills_abandoned:
            used = completion["usage"]
            usage = Usage(used["prompt_tokens"], used["completion_tokens"])
            self.meter.bill(usage.until(share), self.prices.get(request.model, FREE))

    def abandon(self) -> None:
        """Count a request whose client left, not one that ends with the server."""
        if not self._is_closing:
            self.meter.abandon()

    def admit(self, request: LoopbackRequest) -> None:
        """Raise `RefusedRequest` for a wrong key, or a model that is not served."""
        given = request.headers.get("authorization", "")
        if self._api_key is not None and given != f"Bearer {self._api_key}":
            raise RefusedRequest(401, "invalid_api_key", "incorrect API key provided")
        if self.prices and request.model not in self.prices:
            raise RefusedRequest(404, "model_not_found", f"no model {request.model!r} here")


class _Connections(ThreadingHTTPServer):
    """A thread per connection, all of which end with the server."""

    request_queue_size = 1024
    """Clients open many connections at once; Python's default of 5 would reset some of them."""
    daemon_threads = False  # so that server_close() waits for them

    def __init__(self, address: tuple[str, int], handler: type[LoopbackHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._changing = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changing:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        with self._changing:
            for connection in self._open:
                with suppress(OSError):  # the client may have closed it already
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the client drops is no error of the server's."""


def _completion(
    request: LoopbackRequest, message: Mapping[str, Any], reason: str, usage: Usage, choices: int
) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request.index}",
        "object": "chat.completion",
        "created": 0,
        "model": request.model,
        "choices": [
            {"index": index, "message": message, "finish_reason": reason}
            for index in range(choices)
        ],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }
