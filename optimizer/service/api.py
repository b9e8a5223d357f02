"""The service over HTTP: submit, watch, stop, resume, fetch and compare searches, and the page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from evaluators.statistics import paired_interval
from optimizer.errors import ServiceError
from optimizer.service import queue
from optimizer.service.database import Database
from optimizer.service.materials import Folders, check_dataset, file_below, opened, stored_pipeline
from optimizer.service.queue import ENDED, NotPossible, OverBudget, UnknownSearch
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
    version: str = ""

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
    database, version = service.database, service.version or library_version()
    queue.add_tokens(database, service.tokens)
    forms = {label: asdict(model) for label, model in service.models.items()}
    app = FastAPI(title="compound-optimizer", version=version, openapi_url=None)
    app.add_middleware(TokenMiddleware, tokens=service.tokens, most_bytes=service.most_bytes)
    page, policy = _page()

    @app.exception_handler(ServiceError)
    def refused(_: Request, error: ServiceError) -> Response:
        return JSONResponse({"detail": str(error)}, _STATUS.get(type(error), 500))

    @app.exception_handler(SQLAlchemyError)
    def away(_: Request, error: SQLAlchemyError) -> Response:
        problem = f"the database can't be used now ({getattr(error, 'orig', error)}); try again"
        return JSONResponse({"detail": problem}, 503, {"Retry-After": "5"})

    @app.get("/", response_class=HTMLResponse)
    def show_page() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.get("/api/service")
    def facts(request: Request) -> dict[str, Any]:
        token: Token = request.state.token
        with database.reading() as connection:
            usd, calls = queue.committed(connection, token.name)
        return {
            "version": version,
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
        key = queue.add(database, token, wanted, forms, dataset, name, budget, version)
        return {**queue.searches(database, token, key)[0], **shown}

    @app.get("/api/searches")
    def listed(request: Request) -> list[dict[str, Any]]:
        return queue.searches(database, request.state.token)

    @app.get("/api/searches/{key}")
    def shown(request: Request, key: str) -> dict[str, Any]:
        return queue.searches(database, request.state.token, key)[0]

    @app.post("/api/searches/{key}/stop")
    def stop(request: Request, key: str) -> dict[str, Any]:
        queue.stop(database, request.state.token, key)
        return queue.searches(database, request.state.token, key)[0]

    @app.post("/api/searches/{key}/resume")
    def resume(request: Request, key: str) -> dict[str, Any]:
        queue.resume(database, request.state.token, key, version)
        return queue.searches(database, request.state.token, key)[0]

    @app.get("/api/searches/{key}/artifacts/{name}")
    def fetch(request: Request, key: str, name: str) -> Response:
        content = queue.artifact(database, request.state.token, key, name)
        kind = _KINDS.get(name.rpartition(".")[2], "application/json")
        return Response(
            content,
            media_type=kind,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @app.get("/api/searches/{key}/compare/{other}")
    def compare(request: Request, key: str, other: str) -> dict[str, Any]:
        return compared(database, request.state.token, key, other)

    @app.get("/api/searches/{key}/events")
    async def watch(
        request: Request, key: str, after: Annotated[int, Query(ge=0, lt=2**31)] = 0
    ) -> Response:
        token: Token = request.state.token
        last = request.headers.get("Last-Event-ID", "")
        after = int(last) if _EVENT_ID.fullmatch(last) else after
        await run_in_threadpool(queue.searches, database, token, key)  # 404 before the stream
        stream = _events(database, token, key, after)
        return StreamingResponse(stream, media_type="text/event-stream",
                                 headers={"Cache-Control": "no-store"})  # fmt: skip

    return app


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


def compared(database: Database, token: Token, key: str, other: str) -> dict[str, Any]:
    """Figures of two searches that are done, what differs in their configs, and the paired
    difference of their tuned pipelines on held-out examples, where these are the same.

    Raises:
        UnknownSearch: the token has none of this id.
        NotPossible: one is not done.
    """
    both = [queue.searches(database, token, each)[0] for each in (key, other)]
    for search in both:
        if search["result"] is None:
            raise NotPossible(f"search {search['id']} is {search['state']}, not done")
    first, second = (search["result"] for search in both)
    configs = first["config"], second["config"]
    knobs = [
        k
        for k in dict.fromkeys([*configs[0], *configs[1]])
        if configs[0].get(k) != configs[1].get(k)
    ]
    difference = None
    if first["holdout_digest"] and first["holdout_digest"] == second["holdout_digest"]:
        scores = [
            _scores(queue.artifact(database, token, each, "examples.json")) for each in (key, other)
        ]
        rows = [row for row in scores[0] if row in scores[1]]
        if len(rows) > 1:
            ours, others = ([score[row] for row in rows] for score in scores)
            difference = {**asdict(paired_interval(others, ours)), "examples": len(rows)}
    return {
        "searches": both,
        "config": {knob: [config.get(knob) for config in configs] for knob in knobs},
        "difference": difference,
    }


def _scores(examples: bytes) -> dict[int, float]:
    """By row, the score of the tuned pipeline, where it has one."""
    table = json.loads(examples)
    row, score = (table["columns"].index(name) for name in ("row", "tuned_score"))
    return {values[row]: values[score] for values in table["data"] if values[score] is not None}


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
