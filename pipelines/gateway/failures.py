"""What can happen to a call, and what follows: its kind, retry, charge, blame, and what helps.

Every provider says what happened in these terms. A call that failed is never kept in the cache.
What the model is to blame for scores 0; all else says nothing about the model and has no score.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.local_servers import local_server
from pipelines.gateway.model import Model
from pipelines.gateway.secrets import encodable, redacted

_MOST_CHARACTERS = 2000


class FailureKind(NamedTuple):
    """One way in which a call ends without an answer, and what follows."""

    kind: str
    sent: bool = True
    """Whether something was sent: what was not is no call, and costs nothing."""
    retryable: bool = False
    billed: bool = False
    """Whether the provider may have charged for it: nothing shows that the model did not run."""
    away: bool = False
    """Whether the provider can't be reached or is starting: it is waited for."""
    advice: str = ""
    """What helps; `{call}`, `{timeout_s}` and the keys of `_help` are filled in."""

    def failure(
        self, call: LMCall, detail: str, *, timeout_s: float = 0.0, retry_after: float | None = None
    ) -> CallFailed:
        """The failure of this call.

        `detail` is what the provider or the connection reports; secrets are removed. `timeout_s` is
        how long the provider could stay silent, `retry_after` the seconds that it asks to wait.
        """
        model = call.model
        where = f" at {model.address}" if model.address else ""
        advice = self.advice.format(call=call, timeout_s=timeout_s, **_help(model))
        detail = _SOCKET.sub("", encodable(detail))
        detail = redacted(detail, model.key_variable)[:_MOST_CHARACTERS].rstrip(". ")
        text = f"{model.label}{where}: {detail}" + (f" ({advice})" if advice else "")
        return CallFailed(
            self.kind,
            text,
            sent=self.sent,
            retryable=self.retryable,
            billed=self.billed,
            away=self.away,
            retry_after=retry_after,
        )


# Nothing was sent.
NOT_CONNECTED = FailureKind(
    "connection", sent=False, retryable=True, away=True, advice="no connection: {start}"
)
NOT_SENT = FailureKind(
    "not_sent",
    sent=False,
    advice="nothing was sent: credentials, packages or settings of this machine",
)
SET_ASIDE = FailureKind("set_aside", sent=False, advice="it is not asked again in this run")
UNSUPPORTED_INPUT = FailureKind("unsupported_input", sent=False)
UNUSABLE_MODEL = FailureKind("unusable_model", sent=False)

# It was sent, and what became of it is unknown.
BROKEN = FailureKind("connection", retryable=True, billed=True)
TIMED_OUT = FailureKind(
    "timeout",
    retryable=True,
    billed=True,
    advice="no reply within {timeout_s:g} s; Gateway(timeout_s=...) bounds that",
)
UPSTREAM_ERROR = FailureKind("server_error", retryable=True, billed=True)
MALFORMED = FailureKind("malformed_response", retryable=True, billed=True)

# The server refused it.
GATEWAY_TIMEOUT = FailureKind("timeout", retryable=True, billed=True)
RATE_LIMITED = FailureKind(
    "rate_limited",
    retryable=True,
    advice="Gateway(limits={{{call.model.provider!r}: Limit(requests_per_minute=...)}})"
    " keeps to its rate",
)
SERVER_ERROR = FailureKind("server_error", retryable=True)
STARTING = FailureKind("server_error", retryable=True, away=True)
AUTHENTICATION = FailureKind("authentication", advice="{key}")
QUOTA = FailureKind("quota", advice="the account has no money left")
BAD_REQUEST = FailureKind("bad_request")
NOT_FOUND = FailureKind("bad_request", advice="{get}")
REDIRECTED = FailureKind(
    "bad_request",
    advice="redirects are not followed; Model(..., api_base=...) is to name the target",
)
NO_ROOM_FOR_OUTPUT = FailureKind(
    "bad_request", advice="Model(..., max_tokens=...) must be less than the server's window"
)

# The model is to blame.
REFUSAL = FailureKind("refusal")
CONTEXT_WINDOW = FailureKind(
    "context_window", advice="the prompt and max_tokens={call.model.max_tokens} don't fit together"
)
PROMPT_TOO_LONG = FailureKind("context_window", advice="the prompt alone is too long")

_NO_MONEY = ("insufficient_quota", "credit balance is too low", "billing_hard_limit")
"""What providers write when an account is empty: with a 429 (OpenAI) or a 400 (Anthropic)."""
_FILTERED = re.compile(
    r"content[_ ]filter|content management policy|content[_ ]policy|ResponsibleAIPolicy", re.I
)
_PROMPT_ALONE = re.compile(r"exceed_context_size|exceeds the available context size")
"""llama.cpp counts no output: it stops writing at the end of the window."""
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context window|exceed\w* context|"
    r"context size|prompt is too long|input is too long|too many (input )?tokens",
    re.I,
)
_STARTING = re.compile(r"\b(loading|starting|warming)\b", re.I)
"""What servers of open models say with a 503 until the weights are read."""
_OF_ABILITIES = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
"""Parameters that not every model takes."""
_SOCKET = re.compile(r" ssl:(default|<[^>]*>)")
"""What aiohttp adds to the address that it can't connect to."""
_WINDOW = re.compile(r"(?:context (?:length|window|size)|n_ctx)\D{0,20}(\d+)", re.I)


def _help(model: Model) -> dict[str, str]:
    """Advice by problem: the server is away, does not have the model, or refuses the key."""
    server, (provider, _, name) = local_server(model.name), model.name.partition("/")
    start = "is this machine online?"
    get = "is the name right? https://docs.litellm.ai/docs/providers lists litellm's"
    key = "Model(..., api_key_env=...) names the variable that holds the key"
    if provider in ("bedrock", "sagemaker"):
        key = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of the machine"
    if model.address:
        start = "does the server run, at this address?"
        get = f"{model.address}/models lists the names of a server of OpenAI's form"
    if server is not None:
        start += (
            f" Start it: `{server.start.format(name=name)}`; another address: "
            f"Model(..., api_base=...) or {server.variable}"
        )
        if server.get:
            get = f"fetch the model: `{server.get.format(name=name)}`"
    usual = f"{provider.upper()}_API_KEY"
    if model.key_variable:
        key = f"it was sent the key in {model.key_variable}"
    elif not model.address and os.environ.get(usual):
        key = f"it was sent the key in {usual}; {key}"
    return {"start": start, "get": get, "key": key}


def of_status(status: int, text: str, call: LMCall) -> FailureKind:
    """What a server means by an HTTP status of 300 or more.

    A refusal is free, except the statuses with which a proxy gives up waiting. `text` is the error
    message alone: the whole body may quote the prompt.
    """
    if status < 400:
        return REDIRECTED
    if status in (400, 402, 403, 429) and (status == 402 or any(s in text for s in _NO_MONEY)):
        return QUOTA
    if status in (401, 403):
        return AUTHENTICATION
    if status == 429:
        return RATE_LIMITED
    if status in (408, 504, 524):
        return GATEWAY_TIMEOUT
    if status == 503 and _STARTING.search(text):
        return STARTING
    if status in (409, 425, 498) or status >= 500:
        return SERVER_ERROR
    if _FILTERED.search(text):
        return REFUSAL
    if _TOO_LONG.search(text):
        return too_long(text, call)
    sent = [name for name in _OF_ABILITIES if name in call.all_params]
    if not sent:
        return NOT_FOUND if status == 404 else BAD_REQUEST
    return BAD_REQUEST._replace(advice=f"it was sent {', '.join(sent)}: does the model take that?")


def too_long(text: str, call: LMCall) -> FailureKind:
    """Whether the prompt is too long, or `max_tokens` so large that no prompt would fit."""
    if _PROMPT_ALONE.search(text):
        return PROMPT_TOO_LONG
    window = _WINDOW.search(text)
    if window and int(window[1]) <= call.model.max_tokens:
        return NO_ROOM_FOR_OUTPUT
    return CONTEXT_WINDOW
