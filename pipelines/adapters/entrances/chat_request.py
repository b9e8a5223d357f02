"""A chat request in OpenAI's form, checked, and turned into a call of the gateway."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.gateway.call import LMCall
from pipelines.gateway.model import Model
from pipelines.gateway.params import check_params
from search_spaces.refusals import check_temperature, check_whole, nearest

_BOUNDS = ("max_tokens", "max_completion_tokens")
_WHOLE = {"max_tokens": 1, "max_completion_tokens": 1, "seed": 0, "n": 1}
"""Parameters that are whole numbers, and the least of each."""
_PASSED_ON = frozenset(
    {"stop", "top_p", "top_k", "min_p", "response_format", "reasoning_effort", "logit_bias"}
    | {"tools", "tool_choice", "parallel_tool_calls"}
    | {"presence_penalty", "frequency_penalty", "repetition_penalty", "verbosity", "extra_body"}
)
_WITHOUT_EFFECT = frozenset(
    {"model", "messages", "stream", "stream_options", "user", "metadata", "store"}
    | {"max_retries", "timeout", "extra_headers", "safety_identifier"}
    | {"prompt_cache_key"}
)
"""Parameters that do not affect the answer, or that the gateway decides."""
_REFUSED = {
    **dict.fromkeys(("functions", "function_call"), "its present form is 'tools'"),
    **dict.fromkeys(
        ("modalities", "audio", "prediction", "logprobs", "top_logprobs"),
        "which answers with text and tool calls: no audio, no log probabilities",
    ),
    "web_search_options": "since it costs more than the tokens that the budget reserves",
    "service_tier": "since a tier has a price of its own: give one to Model(..., params=...)",
}
"""Parameters that can't be sent on, and why."""
_ROLES = ("system", "developer", "user", "assistant", "tool")
_IMAGES = ("data:image/", "http://", "https://")
_KEPT = ("role", "name", "tool_call_id", "tool_calls")


class RefusedRequest(ValueError):
    """A request that can't be sent on; names the problem."""


@dataclass(frozen=True)
class ChatRequest:
    """A request that code makes of a model."""

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
        """One call of it as plain data: `messages`, and `params` if it sets any."""
        own = {name: getattr(self, name) for name in ("temperature", "max_tokens", "seed")}
        params = {name: value for name, value in own.items() if value is not None}
        params.update(self.params)
        messages = [dict(message) for message in self.messages]
        return {"messages": messages, **({"params": params} if params else {})}

    def call(self, model: Model, temperature: float | None, params: Mapping[str, Any]) -> LMCall:
        """The call at its seed, or else its first sample. `temperature`, unless None, and `params`
        override the request's own; `max_tokens` is at most the model's."""
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
    Raises RefusedRequest, which names the parameter or message that can't be sent or answered."""
    given = {name: value for name, value in params.items() if value is not None}
    _check_known(given)
    try:
        passed = {name: _plain(given[name]) for name in sorted(_PASSED_ON & given.keys())}
        check_params(passed)
        for name in [each for each in _WHOLE if each in given]:
            check_whole(name, given[name], _WHOLE[name])
            given[name] = int(given[name])
        temperature = check_temperature(given.get("temperature"))
    except (ValueError, TypeError, RecursionError) as error:
        raise RefusedRequest(str(error)) from None
    return ChatRequest(
        messages=tuple(_messages(messages)),
        temperature=temperature,
        max_tokens=min((given[name] for name in _BOUNDS if name in given), default=None),
        seed=given.get("seed"),
        count=given.get("n", 1),
        params=passed,
    )


def _check_known(given: Mapping[str, Any]) -> None:
    known = {*_PASSED_ON, *_WITHOUT_EFFECT, *_WHOLE, "temperature"}
    for name, value in given.items():
        if name in _REFUSED and value not in (False, [], {}, "none", "auto", ["text"]):
            raise RefusedRequest(
                f"the parameter {name!r} can't be sent through the gateway, {_REFUSED[name]}"
            )
        if name not in known | _REFUSED.keys():
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
    for name in ("function_call", "audio"):
        if given.get(name):
            raise RefusedRequest(f"{place} has {name!r}, which the gateway does not send")
    try:
        kept = {name: _plain(given[name]) for name in _KEPT if given.get(name)}
    except (ValueError, TypeError, RecursionError) as error:
        raise RefusedRequest(f"{place} is no plain JSON: {error}") from None
    content = given.get("content")
    if "tool_calls" in kept:
        kept["tool_calls"] = _tool_calls(kept["tool_calls"], place)
        if content is None:
            return {**kept, "content": None}
    return {**kept, "content": _content(content, place)}


def _tool_calls(given: Any, place: str) -> list[dict[str, Any]]:
    """As the model wrote them, without what OpenAI's SDK adds when it puts a stream together."""
    if not isinstance(given, list) or not all(isinstance(call, dict) for call in given):
        raise RefusedRequest(f"{place} must have a list of calls as tool_calls, but got {given!r}")
    for call in given:
        call.pop("index", None)
        if isinstance(call.get("function"), dict):
            call["function"].pop("parsed_arguments", None)
    return given


def _content(content: Any, place: str) -> str | list[dict[str, Any]]:
    """The content as one text, put together from parts; as parts, if some are images."""
    if content is None or isinstance(content, str):
        return sys.intern(str(content or ""))  # traces keep it, and other configs send it again
    if not isinstance(content, list):
        raise RefusedRequest(f"{place} has content that is neither text nor parts: {content!r}")
    parts = [_part(part, place) for part in content]
    if any("image_url" in part for part in parts):
        return parts
    return sys.intern("\n".join(part["text"] for part in parts))


def _part(part: Any, place: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    image = part.get("image_url") if isinstance(part, Mapping) and kind == "image_url" else None
    image = {"url": image} if isinstance(image, str) else image
    url = image.get("url") if isinstance(image, Mapping) else None
    if isinstance(image, Mapping) and isinstance(url, str) and url.startswith(_IMAGES):
        return {"type": "image_url", "image_url": {**image, "url": sys.intern(url)}}
    if kind == "image_url":
        raise RefusedRequest(
            f"{place} must have an image as {{'image_url': {{'url': ...}}}} with an address that "
            f"begins with one of {_IMAGES}, but got {str(image)[:80]!r}"
        )
    raise RefusedRequest(
        f"{place} has a part of type {kind!r}, but the gateway sends text and images alone"
    )


def _plain(value: Any) -> Any:
    """The value as JSON has it: SDKs mix objects of their own into what they send. Raises
    ValueError, TypeError or RecursionError where it has no JSON."""

    def dumped(value: Any) -> Any:
        if isinstance(value, type) or not hasattr(value, "model_dump"):
            raise TypeError(f"{value!r} has no JSON")
        return value.model_dump()

    return json.loads(json.dumps(value, allow_nan=False, default=dumped))
