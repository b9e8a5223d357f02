"""Middleware of servers: a limit for bodies, and the guard of a model server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from optimizer.serving.metering import Metering


class Guard:
    """ASGI middleware.

    Args:
        app: what it guards.
        metering: counts requests by path and status.
        paths: that are counted under their own names.
        token: the bearer token that all paths but `open_paths` want; None if none do.
        most_bytes: of a request's body.
        answer_to: makes the answer to an error that no route foresees. Starlette would raise it
            again, and the server log it with the secrets that it may hold.
    """

    open_paths = ("/health",)

    def __init__(
        self,
        app: ASGIApp,
        metering: Metering,
        paths: Collection[str],
        token: str | None,
        most_bytes: int,
        answer_to: Callable[[Exception], Response],
    ) -> None:
        self._app = app
        self._metering = metering
        self._paths = paths
        self._token = token
        self._most_bytes = most_bytes
        self._answer_to = answer_to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # if the client leaves before there is an answer

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"
        try:
            if self._is_let_in(scope):
                await self._app(scope, bounded(scope, receive, self._most_bytes), counted)
            else:
                await _refusal()(scope, receive, counted)
        except Exception as error:
            if status != 499:  # its answer has begun: the connection must be closed
                raise
            await self._answer_to(error)(scope, receive, counted)
        finally:
            self._metering.count("requests_total", path=path, status=status)

    def _is_let_in(self, scope: Scope) -> bool:
        if self._token is None or scope["path"] in self.open_paths:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return secrets.compare_digest(given, b"Bearer " + self._token.encode())


def bounded(scope: Scope, receive: Receive, most_bytes: int) -> Receive:
    """Receives the body of a request; one that is or says to be larger is answered with 413."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    received = 0

    async def within_limit() -> Message:
        nonlocal received
        if declared.isdigit() and int(declared) > most_bytes:
            raise too_large
        message = await receive()
        received += len(message.get("body", b""))
        if received > most_bytes:
            raise too_large
        return message

    # unless the connection is closed, uvicorn reads the body to its end
    detail = f"a request has at most {most_bytes:,} bytes"
    too_large = HTTPException(413, detail, {"Connection": "close"})
    return within_limit


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's form."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _refusal() -> Response:
    problem = "the header `Authorization: Bearer ...` must have this server's token"
    body = error_body(problem, "authentication_error", "invalid_api_key")
    return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer", "x-should-retry": "false"})
