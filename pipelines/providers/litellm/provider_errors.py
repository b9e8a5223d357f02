"""Which kinds of failure the exceptions of litellm are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from pipelines.gateway import failures
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.failures import FailureKind
from pipelines.providers.openai_server import retry_after


def as_failure(
    litellm: Any, error: Exception, call: LMCall, timeout_s: float, sent: bool
) -> CallFailed:
    """The failure that an exception of litellm is; `sent`: whether litellm had sent the call."""
    causes = list(_causes(error))
    kind = _failure_kind(litellm, error, causes, call, sent)
    headers = getattr(error, "litellm_response_headers", None) or {}
    name = type(error).__name__
    text = str(error).partition("\nTraceback (most recent")[0].removeprefix(f"litellm.{name}: ")
    return kind.failure(
        call, f"{name}: {text}", timeout_s=timeout_s, retry_after=retry_after(headers)
    )


def _failure_kind(
    litellm: Any, error: Exception, causes: list[BaseException], call: LMCall, sent: bool
) -> FailureKind:
    """The kind by the status that the server really sent, if it sent one.

    litellm invents a status for every exception: 500 for a broken connection, 503 for an error
    inside a 200. The causes tell them apart.
    """
    import httpx
    import openai

    text = " ".join(str(each) for each in causes)
    if isinstance(error, litellm.ContextWindowExceededError):
        return failures.too_long(text, call)
    if isinstance(error, litellm.ContentPolicyViolationError):
        return failures.REFUSAL
    for cause in causes:
        if isinstance(cause, openai.OpenAIError) and not isinstance(cause, openai.APIError):
            return failures.AUTHENTICATION._replace(sent=False)  # no key
        if isinstance(cause, httpx.HTTPStatusError):
            return failures.of_status(cause.response.status_code, text, call)
    if _never_connected(causes):
        return failures.NOT_CONNECTED
    if isinstance(error, litellm.Timeout):
        return failures.TIMED_OUT
    if any(isinstance(cause, httpx.TransportError) for cause in causes):
        return failures.BROKEN
    return _of_class(litellm, error, causes, call, sent)


def _never_connected(causes: list[BaseException]) -> bool:
    """Whether nothing was sent.

    litellm's aiohttp transport raises `ConnectError` also for an open connection that was reset or
    cancelled; the causes tell them apart.
    """
    import aiohttp
    import httpx

    after_connecting = any(
        isinstance(cause, asyncio.CancelledError | aiohttp.ClientOSError)
        and not isinstance(cause, aiohttp.ClientConnectorError)
        for cause in causes
    )
    refused = any(isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout) for cause in causes)
    return refused and not after_connecting


def _of_class(
    litellm: Any, error: Exception, causes: list[BaseException], call: LMCall, sent: bool
) -> FailureKind:
    """The kind where no status was seen: litellm refused it, or a 200 brought no reply."""
    over_http = any(hasattr(cause, "status_code") for cause in causes[1:])
    if isinstance(error, litellm.AuthenticationError | litellm.exceptions.PermissionDeniedError):
        return failures.AUTHENTICATION._replace(billed=over_http)
    bad = litellm.BadRequestError | litellm.NotFoundError | litellm.UnprocessableEntityError
    if isinstance(error, bad) and not over_http:
        return failures.of_status(400, str(error), call)._replace(sent=sent)
    if not sent:
        return failures.NOT_SENT
    if isinstance(error, litellm.RateLimitError):
        return failures.RATE_LIMITED._replace(billed=True)
    if isinstance(error, litellm.ServiceUnavailableError | litellm.BadGatewayError):
        return failures.UPSTREAM_ERROR
    return failures.MALFORMED


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those beneath it, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
