"""A chat request in OpenAI's form, checked, and turned into a call of the gateway."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.gateway.call import LMCall
from pipelines.gateway.model import Model
from pipelines.gateway.params import check_params
from search_spaces.refusals import nearest

_BOUNDS = ("max_tokens", "max_completion_tokens")
_PASSED_ON = frozenset(
    {"stop", "top_p", "top_k", "min_p", "response_format", "reasoning_effort", "logit_bias"}
    | {"presence_penalty", "frequency_penalty", "repetition_penalty", "verbosity", "extra_body"}
)
_WITHOUT_EFFECT = frozenset(
    {"model", "messages", "stream", "stream_options", "user", "metadata", "store"}
    | {"max_retries", "timeout", "parallel_tool_calls", "extra_headers", "safety_identifier"}
    | {"prompt_cache_key"}
)
"""What says nothing about the answer, or is the gateway's to decide."""
_NOT_TEXT = frozenset(
    {"tools", "tool_choice", "functions", "function_call", "modalities", "audio", "prediction"}
    | {"logprobs", "top_logprobs", "web_search_options", "service_tier"}
)
_ROLES = ("system", "developer", "user", "assistant")
_KEPT = ("role", "name", "content")


class RefusedRequest(ValueError):
    """A request that can't be sent on; names what is in its way."""


@dataclass(frozen=True)
class ChatRequest:
    """What code asks a model."""

    messages: tuple[Mapping[str, Any], ...]
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    count: int = 1
    """How many answers it wants."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters, as the provider names them."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What one call of it is, as plain data: `messages`, and `params` if it sets any."""
        own = {name: getattr(self, name) for name in ("temperature", "max_tokens", "seed")}
        params = {name: value for name, value in own.items() if value is not None}
        params.update(self.params)
        messages = [dict(message) for message in self.messages]
        return {"messages": messages, **({"params": params} if params else {})}

    def call(self, model: Model, temperature: float | None, params: Mapping[str, Any]) -> LMCall:
        """The call at its seed, or else its first sample.

        Args:
            model: who is asked; its `max_tokens` stays the most.
            temperature: goes before the request's own, unless it is None.
            params: go over the request's own.
        """
        most = min(model.max_tokens, self.max_tokens or model.max_tokens)
        return LMCall(
            model=dataclasses.replace(model, max_tokens=most),
            messages=self.messages,
            temperature=self.temperature if temperature is None else temperature,
            sample=self.seed or 0,
            params={**self.params, **params},
        )


def chat_request(messages: Any, params: Mapping[str, Any]) -> ChatRequest:
    """The request that a client of OpenAI's form makes; parameters of None are as if not given.

    Raises:
        RefusedRequest: it asks for what is not text; names the parameter, or the message.
    """
    given = {name: value for name, value in params.items() if value is not None}
    passed = {name: given[name] for name in sorted(_PASSED_ON & given.keys())}
    _check_known(given)
    try:
        check_params(passed)
    except ValueError as error:
        raise RefusedRequest(str(error)) from None
    bounds = [_whole(given, name, 1) for name in _BOUNDS if name in given]
    return ChatRequest(
        messages=tuple(_messages(messages)),
        temperature=_temperature(given),
        max_tokens=min(bounds, default=None),
        seed=_whole(given, "seed", 0) if "seed" in given else None,
        count=_whole(given, "n", 1) if "n" in given else 1,
        params=passed,
    )


def _check_known(given: Mapping[str, Any]) -> None:
    known = {*_PASSED_ON, *_WITHOUT_EFFECT, *_BOUNDS, "temperature", "seed", "n"}
    for name, value in given.items():
        if name in _NOT_TEXT and value not in (False, [], {}, "none", "auto", ["text"]):
            raise RefusedRequest(
                f"the parameter {name!r} can't be sent through the gateway, which sends and "
                "answers text alone: no tools, audio or log probabilities"
            )
        if name not in known | _NOT_TEXT:
            raise RefusedRequest(
                f"the gateway does not know the parameter {name!r}{nearest(name, sorted(known))}; "
                "Model(..., params=...) sends any with every call"
            )


def _messages(given: Any) -> Iterable[dict[str, Any]]:
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise RefusedRequest(
            f"messages must be a list such as [{{'role': 'user', 'content': '...'}}], "
            f"but got {given!r}"
        )
    for place, message in enumerate(given):
        plain = message.model_dump() if hasattr(message, "model_dump") else message
        yield _message(plain, f"messages[{place}]")


def _message(given: Any, place: str) -> dict[str, Any]:
    if not isinstance(given, Mapping) or given.get("role") not in _ROLES:
        role = given.get("role") if isinstance(given, Mapping) else given
        raise RefusedRequest(f"{place} must be a message of one of {_ROLES}, but got {role!r}")
    for name in ("tool_calls", "function_call", "audio"):
        if given.get(name):
            raise RefusedRequest(f"{place} has {name!r}, but the gateway sends text alone")
    kept = {name: given[name] for name in _KEPT if given.get(name) is not None}
    # traces keep it, and other configs and later turns send the same text again
    return {**kept, "content": sys.intern(_text(given.get("content"), place))}


def _text(content: Any, place: str) -> str:
    """The content as one text; what comes in parts of text is put together."""
    if content is None or isinstance(content, str):
        return str(content or "")
    if not isinstance(content, list):
        raise RefusedRequest(f"{place} has content that is neither text nor parts: {content!r}")
    texts = []
    for part in content:
        if isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise RefusedRequest(
                f"{place} has a part of type {kind!r}, but the gateway sends text alone"
            )
    return "\n".join(texts)


def _temperature(given: Mapping[str, Any]) -> float | None:
    value = given.get("temperature")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
        raise RefusedRequest(f"0 <= temperature <= 2 must hold, but got {value!r}")
    return float(value)


def _whole(given: Mapping[str, Any], name: str, least: int) -> int:
    value = given[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RefusedRequest(f"{name} >= {least} must hold (a whole number), but got {value!r}")
    return value
