"""A pipeline as a model API: OpenAI's chat completions and a typed `/run`, both with streams."""

# FastAPI reads the annotations of routes, which name classes made for one pipeline: no
# `from __future__ import annotations` here.

import json
import logging
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import dspy
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from optimizer.serving import chat_form
from optimizer.serving.guard import Guard, error_body
from optimizer.serving.served_run import (
    CapReached,
    ClientGone,
    MeteredPipeline,
    RunFailed,
    Served,
)
from optimizer.version import library_version
from pipelines import Tunable
from pipelines.adapters.entrances.chat_request import RefusedRequest
from pipelines.adapters.entrances.openai_form import CODES, as_chunks
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.secrets import redacted
from pipelines.modules.plain_data import typed_record

logger = logging.getLogger(__name__)

MOST_BYTES = 16 << 20
"""Of a request."""


def create_app(
    pipeline: Tunable,
    gateway: Gateway,
    *,
    hourly: Budget | None = None,
    token: str | None = None,
    most_bytes: int = MOST_BYTES,
) -> FastAPI:
    """The server of a pipeline, which runs with the config that it carries.

    Args:
        pipeline: the spec or program.
        gateway: makes its calls, and keeps their replies.
        hourly: caps on dollars and calls per hour of the clock.
        token: that clients must send; None accepts every request.
        most_bytes: of a request.

    Raises:
        PipelineError: a module names no model.
    """
    metered = MeteredPipeline(pipeline, gateway, hourly or Budget())
    app = FastAPI(
        title=pipeline.name, version=library_version(), docs_url=None, redoc_url=None,
        description=pipeline.describe(),
    )  # fmt: skip
    Inputs = _model_of_inputs(pipeline)
    _add_run(app, metered, Inputs)
    _add_chat(app, metered, Inputs)
    _add_state(app, metered)
    _add_errors(app)
    paths = [path for route in app.routes if (path := getattr(route, "path", None))]
    app.add_middleware(
        Guard, metering=metered.metering, paths=paths, token=token, most_bytes=most_bytes,
        answer_to=_error_response,
    )  # fmt: skip
    return app


def _add_run(app: FastAPI, metered: MeteredPipeline, Inputs: type[BaseModel]) -> None:
    pipeline = metered.pipeline
    Outputs = _model_of_outputs(pipeline)

    class Usage(BaseModel):
        input_tokens: int
        output_tokens: int
        usd: float = Field(description="of all calls, those from the cache included")

    class RunRequest(BaseModel):
        model_config = ConfigDict(extra="forbid")
        inputs: Inputs  # type: ignore[valid-type]
        stream: bool = Field(
            default=False, description="answer with server-sent events, one per prediction"
        )

    class RunResponse(BaseModel):
        outputs: Outputs  # type: ignore[valid-type]
        confidence: float
        final: bool
        usage: Usage | None = Field(default=None, description="of the final prediction")

    @app.post("/run", responses={200: {"model": RunResponse}})
    async def run(request: Request, body: RunRequest) -> Response:
        """Run the pipeline on one example."""
        inputs = _given(body.inputs, pipeline)
        if body.stream:
            return _events(_run_events(metered, inputs, request))
        return _json(_run_form(await _final(metered, inputs, request)))


async def _run_events(
    metered: MeteredPipeline, inputs: Mapping[str, Any], request: Request
) -> AsyncIterator[str]:
    async with aclosing(metered.predictions(inputs, request)) as coming:
        async for served in coming:
            yield chat_form.json_text(_run_form(served))


def _run_form(served: Served) -> dict[str, Any]:
    trace = served.trace
    usage = trace and {
        "input_tokens": trace.input_tokens,
        "output_tokens": trace.output_tokens,
        "usd": trace.usd,
    }
    return {
        "outputs": served.outputs,
        "confidence": served.confidence,
        "final": trace is not None,
        "usage": usage,
    }


def _add_chat(app: FastAPI, metered: MeteredPipeline, Inputs: type[BaseModel]) -> None:
    pipeline = metered.pipeline

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        """OpenAI's chat completion; see the documentation for how messages become inputs."""
        fields = await _json_object(request)
        if fields.get("model") not in (None, pipeline.name):
            problem = f"there is no model {fields['model']!r} here, but {pipeline.name!r}"
            raise HTTPException(404, problem)
        read = await run_in_threadpool(chat_form.inputs_of, fields, pipeline.input_types)
        inputs = _given(Inputs.model_validate(read), pipeline)
        if fields.get("stream"):
            return _events(_chat_events(metered, inputs, request, fields))
        served = await _final(metered, inputs, request)
        assert served.trace is not None
        known_by, as_json = chat_form.identity(pipeline.name), chat_form.wants_json(fields)
        return _json(chat_form.completion(known_by, served, served.trace, as_json=as_json))

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        """The pipeline, as the only model."""
        model = {"id": pipeline.name, "object": "model", "created": 0, "owned_by": "pipeline"}
        return {"object": "list", "data": [model]}


async def _chat_events(
    metered: MeteredPipeline, inputs: Mapping[str, Any], request: Request, fields: Mapping[str, Any]
) -> AsyncIterator[str]:
    known_by, as_json = chat_form.identity(metered.pipeline.name), chat_form.wants_json(fields)
    options = fields.get("stream_options")
    with_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
    async with aclosing(metered.predictions(inputs, request)) as coming:
        async for served in coming:
            if served.trace is None:
                chunk = chat_form.provisional_chunk(known_by, served, as_json=as_json)
                yield chat_form.json_text(chunk)
                continue
            whole = chat_form.completion(known_by, served, served.trace, as_json=as_json)
            for chunk in as_chunks(whole, with_usage):
                yield chat_form.json_text(chunk)
    yield "[DONE]"


def _add_state(app: FastAPI, metered: MeteredPipeline) -> None:
    @app.get("/health")
    def health() -> dict[str, str]:
        """That the server answers; asks no model."""
        return {"status": "ok", "pipeline": metered.pipeline.name, "version": library_version()}

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        """Counts in Prometheus' text format."""
        spent, hourly = metered.session().spent, metered.hourly
        gauges = {
            "in_flight": ("Runs that go on just now.", metered.in_flight),
            "hour_usd": ("Dollars paid in this hour.", spent.usd),
            "hour_calls": ("Calls made in this hour.", spent.calls),
        }
        for name, cap in (("usd", hourly.usd), ("calls", hourly.calls)):
            if cap is not None:
                gauges[f"hour_{name}_cap"] = (f"The cap on {name} per hour.", cap)
        text = metered.metering.text(gauges)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI) -> None:
    async def failed(_request: Request, error: Exception) -> Response:
        return _error_response(error)

    for kind in (
        RequestValidationError, ValidationError, RefusedRequest, HTTPException,
        RunFailed, CapReached, ClientGone,
    ):  # fmt: skip
        app.exception_handler(kind)(failed)


def _error_response(error: Exception) -> Response:
    status, body, headers = _error(error)
    # the gateway has retried what may help; OpenAI's clients would do so again
    return JSONResponse(body, status, {"x-should-retry": "false", **headers})


def _error(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of the answer to a request that failed."""
    if isinstance(error, CapReached):
        body = error_body(str(error), "rate_limit_error", "rate_limit_exceeded")
        return 429, body, {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, RunFailed):
        kind = error.failure.kind
        body = error_body(redacted(str(error)), "pipeline_error", CODES.get(kind, kind))
        return 400 if kind in CODES else 503 if error.failure.infrastructure else 500, body, {}
    if isinstance(error, HTTPException):
        kind = "not_found_error" if error.status_code == 404 else "invalid_request_error"
        return error.status_code, error_body(str(error.detail), kind), {}
    if isinstance(error, RequestValidationError | ValidationError):
        return 400, error_body(_problems(error.errors()), "invalid_request_error"), {}
    if isinstance(error, RefusedRequest):
        return 400, error_body(str(error), "invalid_request_error"), {}
    if isinstance(error, ClientGone):
        return 499, error_body("the client closed the connection", "client_closed"), {}
    logger.error("a request failed: %s", redacted("".join(traceback.format_exception(error))))
    return 500, error_body("the server failed; its log says why", "server_error"), {}


def _problems(errors: Any) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc'] if part != 'body')}: {each['msg']}"
        for each in errors
    )


async def _json_object(request: Request) -> dict[str, Any]:
    """The body; raises HTTPException if it is no JSON object, or is not declared as JSON (browsers
    send other types cross-origin without a preflight)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise HTTPException(415, f"the content type must be application/json, but is {kind!r}")
    try:
        fields = json.loads(await request.body())
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return fields


async def _final(metered: MeteredPipeline, inputs: Mapping[str, Any], request: Request) -> Served:
    async with aclosing(metered.predictions(inputs, request)) as coming:
        served = [each async for each in coming]
    return served[-1]


def _events(data: AsyncIterator[str]) -> StreamingResponse:
    """Server-sent events; an error is one, too, as OpenAI's clients expect it."""

    async def events() -> AsyncIterator[str]:
        try:
            async for each in data:
                yield f"data: {each}\n\n"
        except ClientGone:
            return
        except Exception as error:
            _, body, _ = _error(error)
            yield f"data: {json.dumps(body)}\n\n"

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _json(value: Mapping[str, Any]) -> Response:
    return Response(chat_form.json_text(value), media_type="application/json")


def _model_of_inputs(pipeline: Tunable) -> type[BaseModel]:
    fields: dict[str, Any] = {
        name: (_described(kind), ...) for name, kind in pipeline.input_types.items()
    }
    fields |= {name: (Any, None) for name in pipeline.optional_inputs if name not in fields}
    return create_model("Inputs", __config__=ConfigDict(extra="forbid"), **fields)


def _model_of_outputs(pipeline: Tunable) -> type[BaseModel]:
    written = {
        module.pipeline_field(own): kind
        for module in pipeline.modules
        for own, kind in module.output_fields.items()
    }
    fields: dict[str, Any] = {
        name: (_described(written.get(name)), ...) for name in pipeline.outputs
    }
    return create_model("Outputs", **fields)


def _described(kind: Any) -> Any:
    """The type as requests have it: images are addresses, and what has no schema is anything."""
    if kind is None:
        return Any
    if isinstance(kind, type) and issubclass(kind, dspy.Image):
        return str
    try:
        TypeAdapter(kind).json_schema()
    except Exception:  # pydantic raises many kinds for types that it does not know
        return Any
    return kind


def _given(inputs: BaseModel, pipeline: Tunable) -> dict[str, Any]:
    """The inputs that a request gives, with images and models as the pipeline's types have them."""
    values = {name: getattr(inputs, name) for name in inputs.model_fields_set}
    return typed_record(values, pipeline.input_types)
