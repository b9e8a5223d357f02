"""What an exception of litellm means: its kind, whether to retry, whether it was billed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from pipelines.llms.call import CallFailed
from pipelines.llms.secrets import redacted


def as_failure(litellm: Any, error: Exception) -> CallFailed:
    """What an exception of litellm means. Subclasses stand before their parents."""
    meanings: list[tuple[Any, tuple[str, bool, bool]]] = [
        # exception, (kind, retryable, perhaps billed)
        (litellm.ContextWindowExceededError, ("context_window", False, False)),
        (litellm.ContentPolicyViolationError, ("refusal", False, False)),
        (litellm.AuthenticationError, ("authentication", False, False)),
        (litellm.exceptions.PermissionDeniedError, ("authentication", False, False)),
        (litellm.RateLimitError, ("rate_limited", True, False)),
        (litellm.Timeout, ("timeout", True, True)),
        (litellm.ServiceUnavailableError, ("server_error", True, False)),
        (litellm.BadGatewayError, ("server_error", True, False)),
        (litellm.BadRequestError, ("bad_request", False, False)),
        (litellm.NotFoundError, ("bad_request", False, False)),
        (litellm.UnprocessableEntityError, ("bad_request", False, False)),
    ]
    known = (meaning for exception, meaning in meanings if isinstance(error, exception))
    kind, retryable, billed = next(known, None) or _meaning_of_unknown(error)
    message = redacted(f"{type(error).__name__}: {error}")[:2000]
    return CallFailed(
        kind, message, retryable=retryable, billed=billed, retry_after=_retry_after(error)
    )


def _meaning_of_unknown(error: Exception) -> tuple[str, bool, bool]:
    """Kind, retryable, perhaps billed.

    litellm calls real server errors, broken connections and unreadable replies alike, and gives
    each a made-up response of status 500; what lies beneath tells them apart.
    """
    import httpx

    causes = list(_causes(error))
    if any(isinstance(c, httpx.HTTPStatusError) for c in causes):
        return "server_error", True, False
    if any(isinstance(c, httpx.ConnectError | httpx.ConnectTimeout) for c in causes):
        return "connection", True, False
    if any(isinstance(c, httpx.TransportError) for c in causes):
        return "connection", True, True
    return "malformed_response", True, True


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
