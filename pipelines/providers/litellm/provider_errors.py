"""What an exception of litellm means: its kind, whether to retry, whether it was billed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from pipelines.gateway.call import CallFailed
from pipelines.gateway.secrets import redacted

_MOST_CHARACTERS = 2000
_NO_MONEY = ("insufficient_quota", "credit balance is too low", "billing_hard_limit")
"""What providers write when an account is empty: with a 429 (OpenAI) or a 400 (Anthropic)."""


class _Meaning(NamedTuple):
    kind: str
    retryable: bool
    billed: bool
    """Perhaps: nothing shows that the model did not run."""


def as_failure(litellm: Any, error: Exception, key_env: str | None = None) -> CallFailed:
    """What an exception of litellm means.

    `key_env` names the environment variable of the key that the call was made with; its value
    stays out of the message, as those of all that sound like secrets.
    """
    kind, retryable, billed = _meaning(litellm, error)
    message = redacted(f"{type(error).__name__}: {error}", key_env)[:_MOST_CHARACTERS]
    return CallFailed(
        kind, message, retryable=retryable, billed=billed, retry_after=_retry_after(error)
    )


def _meaning(litellm: Any, error: Exception) -> _Meaning:
    """By the status that the server really sent, where it sent one.

    litellm gives every exception a status of its own making: 500 to a broken connection, 503 to
    an error that came inside a 200. What lies beneath tells them apart.
    """
    import httpx
    import openai

    if isinstance(error, litellm.ContextWindowExceededError):
        return _Meaning("context_window", False, False)
    if isinstance(error, litellm.ContentPolicyViolationError):
        return _Meaning("refusal", False, False)
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, openai.OpenAIError) and not isinstance(cause, openai.APIError):
            return _Meaning("authentication", False, False)  # no key: nothing was sent
        if isinstance(cause, httpx.HTTPStatusError):
            text = " ".join(str(each) for each in causes)
            return _meaning_of_status(cause.response.status_code, text)
    if _never_connected(causes):
        return _Meaning("connection", True, False)
    if isinstance(error, litellm.Timeout):
        return _Meaning("timeout", True, True)
    if any(isinstance(cause, httpx.TransportError) for cause in causes):
        return _Meaning("connection", True, True)
    return _meaning_of_class(litellm, error, causes)


def _never_connected(causes: list[BaseException]) -> bool:
    """Whether nothing was sent.

    litellm's aiohttp transport says `ConnectError` also when an open connection was reset or
    cancelled; what lies beneath tells them apart.
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


def _meaning_of_status(status: int, text: str) -> _Meaning:
    """A status that says no is free, but for those with which a gateway gives up waiting."""
    if status == 402 or any(sign in text for sign in _NO_MONEY):
        return _Meaning("quota", False, False)
    if status in (401, 403):
        return _Meaning("authentication", False, False)
    if status == 429:
        return _Meaning("rate_limited", True, False)
    if status in (408, 504, 524):
        return _Meaning("timeout", True, True)
    if status in (409, 425, 498) or status >= 500:
        return _Meaning("server_error", True, False)
    return _Meaning("bad_request", False, False)


def _meaning_of_class(litellm: Any, error: Exception, causes: list[BaseException]) -> _Meaning:
    """No status was seen: litellm itself said no, or what came with a 200 was no reply."""
    over_http = any(hasattr(cause, "status_code") for cause in causes[1:])
    if isinstance(error, litellm.AuthenticationError | litellm.exceptions.PermissionDeniedError):
        return _Meaning("authentication", False, over_http)
    bad = litellm.BadRequestError | litellm.NotFoundError | litellm.UnprocessableEntityError
    if isinstance(error, bad) and not over_http:
        return _Meaning("bad_request", False, False)
    if isinstance(error, litellm.RateLimitError):
        return _Meaning("rate_limited", True, True)
    if isinstance(error, litellm.ServiceUnavailableError | litellm.BadGatewayError):
        return _Meaning("server_error", True, True)
    return _Meaning("malformed_response", True, True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those beneath it, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _retry_after(error: Exception) -> float | None:
    """Seconds of the `Retry-After` header, which is a number or a date, where there is one."""
    value = (getattr(error, "litellm_response_headers", None) or {}).get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
