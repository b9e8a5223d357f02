"""Servers of OpenAI's form, asked directly, which takes much less CPU than through litellm."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import math
import os
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from pipelines.gateway import failures
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.model import Model
from pipelines.gateway.prices import Price
from pipelines.gateway.provider import Knob, Provider, ProviderReply
from pipelines.gateway.secrets import key_of
from pipelines.providers.litellm import model_knobs
from pipelines.providers.litellm.prices import listed_price, nearest_model
from pipelines.providers.prices import address_problem, key_problem, resolve_price

_RENAMED = {"max_tokens": "max_completion_tokens"}
"""What a server that refuses a parameter may want instead."""
MAY_BE_LEFT_OUT = ("seed", "temperature", "top_p", "stop")
_MOST_BYTES = 2**26
"""Of a body; no completion is that long."""
_REFUSES = re.compile(r"unsupported|not supported|unrecognized|unknown|unexpected|extra", re.I)
_OF_FORMAT = re.compile(r"response[ _]format|json[ _](schema|object)|grammar|guided", re.I)
"""Words in the errors of servers that can't enforce a format; the prompt asks for it, too."""


class OpenAIServer(Provider):
    """Any server that answers `POST <api_base>/chat/completions` as OpenAI's does."""

    limits = ""
    connects = True

    def __init__(self) -> None:
        self._adapted: dict[tuple[str | None, str], dict[str, str | None]] = {}
        """By address and model, parameters that it refused, and what it wants instead."""

    def problem_of(self, model: Model, *, keys: bool = True) -> str | None:
        problems = [
            key_problem(model, []) if keys else None,
            address_problem(model),
            super().problem_of(model),
        ]
        return "\n".join(filter(None, problems)) or None

    def price_of(self, model: Model) -> Price:
        """The user's figures, else litellm's for a model of this name."""
        return resolve_price(model, listed_price, nearest_model)

    def takes(self, model: Model, knob: Knob, value: object) -> bool:
        """An effort by what litellm knows of a model of this name; all else may be tried."""
        if knob != "reasoning_effort":
            return True
        return model_knobs.takes(model, knob, value)

    async def send(self, call: LMCall, timeout_s: float) -> ProviderReply:
        """Make the call; again at once if the server refuses a parameter that it can do without.

        Such a refusal costs nothing, and is remembered for the server's model.
        """
        model = call.model
        adapted = self._adapted.setdefault((model.address, model.name), {})
        while True:
            used = dict(adapted)  # other calls may learn of more meanwhile
            asked = time.perf_counter()
            status, body, headers = await self._post(call, request_body(call, used), timeout_s)
            if status < 300:
                return _reply(call, body, time.perf_counter() - asked)
            text = _message(body.decode(errors="replace"))
            refused = _refused_parameter(status, text, used, call)
            if refused is None:
                break
            adapted[refused] = _RENAMED.get(refused)
        what = failures.of_status(status, text, call)
        raise what.failure(call, f"HTTP {status}: {text}", retry_after=retry_after(headers))

    def adapted(self, model: Model) -> Mapping[str, str | None]:
        """The parameters that the model's server has refused, and what it wants instead."""
        return self._adapted.get((model.address, model.name), {})

    async def _post(
        self, call: LMCall, body: Mapping[str, Any], timeout_s: float
    ) -> tuple[int, bytes, Mapping[str, str]]:
        progress = SimpleNamespace(sent=False)
        url = f"{(call.model.address or '').rstrip('/')}/chat/completions"
        try:
            async with _session(asyncio.get_running_loop()).post(
                url,
                data=json.dumps(body),
                headers=_headers(call),
                proxy=_proxy(url),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=timeout_s, sock_connect=timeout_s, sock_read=timeout_s
                ),
                trace_request_ctx=progress,
                allow_redirects=False,  # what follows would be a request that is not counted
            ) as response:
                return response.status, await _read(response), response.headers
        except (aiohttp.ClientError, OSError, ValueError, TypeError) as error:
            detail = f"{type(error).__name__}: {error}"
            if isinstance(error, TimeoutError):
                what = failures.TIMED_OUT if progress.sent else failures.NOT_CONNECTED
            elif progress.sent:
                what = failures.BROKEN
            elif isinstance(error, aiohttp.ClientConnectionError | OSError):
                what = failures.NOT_CONNECTED
            else:
                what = failures.NOT_SENT
            raise what.failure(call, detail, timeout_s=timeout_s) from None


OPENAI_SERVER = OpenAIServer()


@functools.cache
def _session(loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
    """One for each event loop, whose connections stay open."""
    tracing = aiohttp.TraceConfig()

    async def note_sent(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.sent = True

    tracing.on_request_headers_sent.append(note_sent)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), trace_configs=[tracing]
    )
    atexit.register(_close, session, loop, os.getpid())
    return session


def _close(session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop, process: int) -> None:
    """aiohttp complains of sessions that are left open."""
    if process == os.getpid() and loop.is_running():
        asyncio.run_coroutine_threadsafe(session.close(), loop).result(timeout=1)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, which may be compressed, or have no end."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise aiohttp.ClientPayloadError(f"more than {_MOST_BYTES} bytes")
    return bytes(body)


def _proxy(url: str) -> str | None:
    """As the environment says; aiohttp's `trust_env` would also read `~/.netrc`."""
    parts = urlsplit(url)
    bypassed = proxy_bypass(parts.hostname or "")
    return None if bypassed else getproxies().get(parts.scheme)


def _headers(call: LMCall) -> dict[str, str]:
    key = key_of(call.model.key_variable) or "none"  # never another provider's key
    params = call.all_params
    own = {**(params.get("headers") or {}), **(params.get("extra_headers") or {})}
    return {**own, "Content-Type": "application/json", "Authorization": f"Bearer {key}"}


def request_body(call: LMCall, adapted: Mapping[str, str | None]) -> dict[str, Any]:
    """The request in OpenAI's form; `adapted` renames parameters, or leaves them out."""
    model = call.model
    params = call.all_params
    extra = params.pop("extra_body", None) or {}
    for name in ("headers", "extra_headers"):
        params.pop(name, None)
    body: dict[str, Any] = {
        **params,
        **extra,
        # what bounds the call comes last, so that no parameter can lift it
        "model": model.name.partition("/")[2],
        "messages": [dict(message) for message in call.messages],
        "max_tokens": model.max_tokens,
        "seed": call.seed,
    }
    if call.temperature is not None:
        body["temperature"] = call.temperature
    for name, instead in adapted.items():
        value = body.pop(name, None)
        if instead is not None and value is not None:
            body[instead] = value
    return body


def _refused_parameter(
    status: int, text: str, adapted: Mapping[str, str | None], call: LMCall
) -> str | None:
    """A parameter of ours that the server does not take, and can do without."""
    if status not in (400, 422):
        return None
    if "response_format" in call.all_params and _OF_FORMAT.search(text):
        return None if "response_format" in adapted else "response_format"
    if not _REFUSES.search(text):
        return None
    for name in ("max_tokens", *MAY_BE_LEFT_OUT):
        named = re.search(rf"\b{name}\b", text)
        bounded = name not in _RENAMED or _RENAMED[name] in text
        if named and bounded and name not in adapted:
            return name
    return None


def _reply(call: LMCall, body: bytes, latency_s: float) -> ProviderReply:
    """The reply in the body of a successful response."""
    try:
        return reply_of(call, json.loads(body), latency_s)
    except CallFailed:
        raise
    except Exception as error:  # whatever a server may send
        detail = f"the reply can't be read ({type(error).__name__}: {error}): {body[:200]!r}"
        raise failures.MALFORMED.failure(call, detail) from None


def reply_of(call: LMCall, sent: Any, latency_s: float) -> ProviderReply:
    """The reply in a completion of OpenAI's form: as JSON, or one of litellm's objects.

    Raises:
        CallFailed: it is none, or tells of an error.
        Exception: whatever reading it raises.
    """
    if error := sent.get("error"):
        raise _error_in_reply(call, error)
    if not sent.get("choices"):
        raise failures.MALFORMED.failure(call, "the reply has no choices")
    choice = sent["choices"][0]
    if choice.get("error") or choice.get("finish_reason") == "error":
        raise _error_in_reply(call, choice.get("error") or {"code": 500})
    message = choice["message"]
    text = text_of(message.get("content"))
    thoughts = text_of(message.get("reasoning_content") or message.get("reasoning"))
    refused, calls = message.get("refusal"), _tool_calls(message.get("tool_calls"))
    if not text and not calls and choice.get("finish_reason") != "length":
        text = text_of(refused) or thoughts  # some servers take the answer for thoughts
    usage = sent.get("usage")
    usage = usage if hasattr(usage, "get") else {}
    return ProviderReply(
        text=text,
        finish_reason="content_filter" if refused else choice.get("finish_reason"),
        latency_s=latency_s,
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=_output_tokens(usage),
        unseen_text="" if thoughts == text else thoughts,
        tool_calls=calls,
    )


def _tool_calls(sent: Any) -> tuple[dict[str, Any], ...]:
    """The tool calls as plain data; errors within a call are left to the reader.

    Raises:
        Exception: these are no calls.
    """
    plain = json.loads(json.dumps(list(sent or ()), default=lambda each: each.model_dump()))
    return tuple(dict(each) for each in plain)


def _output_tokens(usage: Any) -> Any:
    """With the thoughts that some servers, such as Gemini's, count in the total alone."""
    named = ("prompt_tokens", "completion_tokens", "total_tokens")
    inputs, outputs, total = (usage.get(name) for name in named)
    if all(isinstance(each, int) for each in (inputs, outputs, total)):
        return max(outputs, total - inputs)
    return outputs


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts."""
    parts = () if content is None else [content] if isinstance(content, str) else content
    texts = (part if isinstance(part, str) else part.get("text") for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _error_in_reply(call: LMCall, error: Any) -> CallFailed:
    """The failure behind a successful status: the model may have run."""
    text = error if isinstance(error, str) else json.dumps(error)
    code = error.get("code") if isinstance(error, dict) else None
    kind = failures.MALFORMED
    if isinstance(code, int) and code >= 400:
        kind = failures.of_status(code, text, call)._replace(billed=True, away=False)
    return kind.failure(call, f"an error instead of a reply: {text}")


def _message(text: str) -> str:
    """An error's message and names, without the rest of the body, which may quote the prompt."""
    try:
        sent = json.loads(text)
        error = sent.get("error", sent)
        if not isinstance(error, dict):
            return str(error)
        if isinstance(error.get("detail"), list):  # as FastAPI tells of fields
            return "; ".join(f"{each['msg']}: {each['loc'][-1]}" for each in error["detail"])
        names = {str(error[name]) for name in ("code", "type") if isinstance(error.get(name), str)}
        message = str(error.get("message") or error.get("detail") or text)
        return f"{message} [{', '.join(sorted(names))}]" if names else message
    except Exception:  # whatever a server may send
        return text.strip() or "no message"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of the `Retry-After` header, which is a number or a date, where there is one."""
    value = headers.get("retry-after")
    if value is None:
        return None
    for read in (float, lambda date: parsedate_to_datetime(date).timestamp() - time.time()):
        try:
            seconds = read(value)
        except (ValueError, OverflowError):
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    return None
