"""The service over HTTP: submit, watch, stop, resume, fetch and compare searches, and the page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from optimizer.errors import NotPossible, OverBudget, ServiceError, UnknownSearch
from optimizer.service import queue
from optimizer.service.comparison import compared
from optimizer.service.database import Database
from optimizer.service.materials import Folders, check_dataset, file_below, opened, stored_pipeline
from optimizer.service.queue import ENDED
from optimizer.service.request import SearchRequest, Upload, make_request
from optimizer.service.tokens import Token, find_token
from optimizer.serving.guard import bounded
from optimizer.version import library_version
from pipelines.gateway.budget import Budget
from pipelines.gateway.secrets import redacted

if TYPE_CHECKING:
    from optimizer.estimates.estimate import Estimate
    from pipelines.gateway.model import Model

MOST_BYTES = 32_000_000
"""Of one request; a dataset takes a third more than its file."""
WATCH_S = 0.5
"""Between two looks for new events."""
_QUIET_S = 15.0
"""A watched search that is silent for so long sends a comment, which keeps the connection open."""
_EVENT_ID = re.compile("[0-9]{1,9}")
_STATUS = {OverBudget: 402, UnknownSearch: 404, NotPossible: 409}
_KINDS = {"yaml": "application/yaml", "html": "text/html", "jsonl": "application/x-ndjson"}


@dataclass(frozen=True)
class Service:
    """What the operator decided."""

    database: Database
    tokens: Sequence[Token]
    folders: Folders
    models: Mapping[str, Model]
    """Models that need an address or a key of the operator's, by label."""
    most_bytes: int = MOST_BYTES
    """Of a request, and of a dataset as a file; four times that in memory."""
    version: str = field(default_factory=library_version)

    def checked(self, request: SearchRequest) -> tuple[SearchRequest, Upload, Estimate]:
        """The request as it is stored, its dataset, and what it would take.

        Raises:
            ValueError: an argument does not fit, in the words of `optimize`.
            OSError: a file can't be read.
        """
        from optimizer import optimize

        request = stored_pipeline(request, self.folders)
        dataset = request.dataset
        if isinstance(dataset, str):
            path = file_below(self.folders, dataset)
            if path.stat().st_size > self.most_bytes:
                raise ValueError(f"{dataset} has more than {self.most_bytes:,} bytes")
            dataset = Upload(name=path.name, content=path.read_bytes())
        check_dataset(dataset, 4 * self.most_bytes)
        with opened(request, dataset, self.folders, self.models) as arguments:
            estimate: Estimate = optimize(**arguments, dry_run=True)
        chosen = asdict(estimate.default) if request.budget is None else request.budget
        return request.model_copy(update={"budget": chosen, "dataset": ""}), dataset, estimate


def create_app(service: Service) -> FastAPI:
    """The application; every path but the page wants `Authorization: Bearer TOKEN`."""
    queue.add_tokens(service.database, service.tokens)
    app = FastAPI(title="compound-optimizer", version=service.version, openapi_url=None)
    app.add_middleware(TokenMiddleware, tokens=service.tokens, most_bytes=service.most_bytes)
    page, policy = _page()

    @app.get("/", response_class=HTMLResponse)
    def show_page() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    _add_errors(app)
    _add_submissions(app, service)
    _add_searches(app, service)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ServiceError)
    def refused(_: Request, error: ServiceError) -> Response:
        return JSONResponse({"detail": str(error)}, _STATUS.get(type(error), 500))

    @app.exception_handler(SQLAlchemyError)
    def away(_: Request, error: SQLAlchemyError) -> Response:
        problem = f"the database can't be used now ({getattr(error, 'orig', error)}); try again"
        return JSONResponse({"detail": problem}, 503, {"Retry-After": "5"})


def _add_submissions(app: FastAPI, service: Service) -> None:
    """What the service offers, and the way into its queue."""
    database = service.database
    forms = {label: asdict(model) for label, model in service.models.items()}

    @app.get("/api/service")
    def facts(request: Request) -> dict[str, Any]:
        token: Token = request.state.token
        with database.reading() as connection:
            usd, calls = queue.committed(connection, token.name)
        return {
            "version": service.version,
            "token": token.name,
            "caps": {"usd": token.usd, "calls": token.calls},
            "committed": {"usd": usd, "calls": calls},
            "folders": list(service.folders),
            "models": list(service.models),
        }

    @app.post("/api/searches", status_code=201)
    async def submit(request: Request, dry_run: bool = False) -> dict[str, Any]:
        data = await request.body()
        return await run_in_threadpool(submitted, request.state.token, data, dry_run)

    def submitted(token: Token, data: bytes, dry_run: bool) -> dict[str, Any]:
        try:
            wanted, dataset, estimate = service.checked(make_request(json.loads(data)))
        except (ValueError, OSError, RuntimeError) as error:
            raise HTTPException(422, redacted(str(error))) from error
        shown = {"estimate": estimate.to_dict(), "estimate_text": estimate.text()}
        if dry_run:
            return shown
        budget, name = Budget(**(wanted.budget or {})), estimate.pipeline
        key = queue.add(database, token, wanted, forms, dataset, name, budget, service.version)
        return {**queue.searches(database, token, key)[0], **shown}


def _add_searches(app: FastAPI, service: Service) -> None:
    """Searches of the token, and what is done with them."""
    database = service.database

    @app.get("/api/searches")
    def listed(request: Request) -> list[dict[str, Any]]:
        return queue.searches(database, request.state.token)

    @app.get("/api/searches/{key}")
    def shown(request: Request, key: str) -> dict[str, Any]:
        return queue.searches(database, request.state.token, key)[0]

    @app.post("/api/searches/{key}/stop")
    def stop(request: Request, key: str) -> dict[str, Any]:
        queue.stop(database, request.state.token, key)
        return shown(request, key)

    @app.post("/api/searches/{key}/resume")
    def resume(request: Request, key: str) -> dict[str, Any]:
        queue.resume(database, request.state.token, key, service.version)
        return shown(request, key)

    @app.get("/api/searches/{key}/artifacts/{name}")
    def fetch(request: Request, key: str, name: str) -> Response:
        content = queue.artifact(database, request.state.token, key, name)
        kind = _KINDS.get(name.rpartition(".")[2], "application/json")
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=kind, headers=headers)

    @app.get("/api/searches/{key}/compare/{other}")
    def compare(request: Request, key: str, other: str) -> dict[str, Any]:
        return compared(database, request.state.token, key, other)

    @app.get("/api/searches/{key}/events")
    async def watch(
        request: Request, key: str, after: Annotated[int, Query(ge=0, lt=2**31)] = 0
    ) -> Response:
        last = request.headers.get("Last-Event-ID", "")
        after = int(last) if _EVENT_ID.fullmatch(last) else after
        await run_in_threadpool(shown, request, key)  # 404 before the stream
        stream = _events(database, request.state.token, key, after)
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _events(database: Database, token: Token, key: str, after: int) -> AsyncIterator[str]:
    """Server-sent events: those of the search, and `search` whenever its figures change."""
    before, quiet_s = "", 0.0
    while True:
        try:
            [search] = await run_in_threadpool(queue.searches, database, token, key)
            events = await run_in_threadpool(queue.events_after, database, token, key, after)
        except SQLAlchemyError:  # it may be back at the next look
            search, events = {}, []
        for event in events:
            after = event["number"]
            yield f"id: {after}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n"
        figures = json.dumps(search)
        if search and figures != before:
            before, quiet_s = figures, 0.0
            yield f"event: search\ndata: {figures}\n\n"
            if search["state"] in ENDED:
                return
        if quiet_s >= _QUIET_S:
            quiet_s = 0.0
            yield ": still there\n\n"
        await asyncio.sleep(WATCH_S)
        quiet_s += WATCH_S


def _page() -> tuple[str, str]:
    """The page, and a policy that lets it load nothing but its own script and this service."""
    page = resources.files("optimizer.service").joinpath("page.html").read_text(encoding="utf-8")
    parts = {}
    for kind in ("script", "style"):
        found = re.search(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert found
        parts[kind] = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{parts['script']}'; style-src "
        f"'sha256-{parts['style']}'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return page, policy


class TokenMiddleware:
    """Requires a token below `/api/`, and bounds the body of a request."""

    def __init__(self, app: ASGIApp, tokens: Sequence[Token], most_bytes: int) -> None:
        self._app, self._tokens, self._most_bytes = app, tokens, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith("/api/"):
            given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            token = find_token(self._tokens, given)
            scope.setdefault("state", {})["token"] = token
            if token is None:
                problem = "a valid token is needed: Authorization: Bearer TOKEN"
                answer = JSONResponse({"detail": problem}, 401, {"Connection": "close"})
                await answer(scope, receive, send)
                return
        await self._app(scope, bounded(scope, receive, self._most_bytes), send)
