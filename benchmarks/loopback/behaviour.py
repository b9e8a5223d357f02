"""How the loopback server treats one request: as asked, slowly, wrongly, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.gateway.call import seed_of


@dataclass(frozen=True)
class LoopbackRequest:
    """One request for a completion, as it arrived."""

    index: int
    """How many requests arrived before it."""
    model: str
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any]
    """The whole body but the messages: model, temperature, seed, max_tokens, ..."""
    headers: Mapping[str, str]
    """HTTP headers, their names in lower case."""

    @property
    def sample(self) -> int:
        """Which draw of its prompt it is, by its seed."""
        return sample_of(self.messages, self.params)


def sample_of(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> int:
    """Which draw of a prompt a request is, by its seed: of the first thousand."""
    seed = params.get("seed")
    return next((n for n in range(1000) if seed == seed_of(messages, n)), 0)


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one request. The class methods name the usual troubles."""

    status: int = 200
    latency_s: float = 0.0
    """Seconds before it answers."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """Sent verbatim instead of a completion or an error object."""
    content_type: str = "application/json"
    choices: bool = True
    """Whether the completion has any."""
    fault: Literal["reset", "hang"] | None = None
    """Reset the connection, or never answer."""
    raw: bytes | None = None
    """Sent verbatim instead of a response, headers included; then the connection is closed."""
    edit: Callable[[dict[str, Any]], object] | None = None
    """What is sent in place of a good completion; it may change that one."""
    output_tokens: int | None = None
    """Output that is charged for; the text's tokens if None."""
    ran: bool | None = None
    """Whether the model ran; None if the status tells."""

    @property
    def billed(self) -> bool:
        """Whether the model ran, as providers count it: refused requests are free."""
        return self.status < 400 if self.ran is None else self.ran

    @classmethod
    def slow(cls, latency_s: float) -> Behaviour:
        """Answer after so many seconds."""
        return cls(latency_s=latency_s)

    @classmethod
    def rate_limited(cls, retry_after: float | str | None = None) -> Behaviour:
        """429, with `Retry-After` (seconds or an HTTP date) if given."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return cls(status=429, headers=headers)

    @classmethod
    def server_error(cls, status: int = 500) -> Behaviour:
        """500, 503, ..."""
        return cls(status=status)

    @classmethod
    def html(cls, status: int = 200) -> Behaviour:
        """A web page where JSON was asked for, as misconfigured proxies send it."""
        page = "<!DOCTYPE html><html><body><h1>Welcome</h1></body></html>"
        return cls(status=status, body=page, content_type="text/html; charset=utf-8")

    @classmethod
    def malformed_json(cls) -> Behaviour:
        """200 with JSON that breaks off."""
        return cls(body='{"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"ind')

    @classmethod
    def empty_choices(cls) -> Behaviour:
        """A completion without any choice, yet with usage."""
        return cls(choices=False)

    @classmethod
    def reset(cls) -> Behaviour:
        """The connection is reset (RST) instead of an answer."""
        return cls(fault="reset")

    @classmethod
    def hang(cls) -> Behaviour:
        """No answer until the client gives up or the server closes."""
        return cls(fault="hang")


Script = Behaviour | Sequence[Behaviour] | Callable[[LoopbackRequest], Behaviour]
"""One behaviour for all requests; or the first ones' in turn, good ones after; or a function,
called from many threads."""


def behaviour_for(script: Script, request: LoopbackRequest) -> Behaviour:
    """What the script says about this request."""
    if isinstance(script, Behaviour):
        return script
    if callable(script):
        return script(request)
    return script[request.index] if request.index < len(script) else Behaviour()


def dies_after(requests: int, then: Behaviour | None = None) -> Script:
    """Answer so many requests, and treat all later ones as `then` says (default: hang)."""
    dead = Behaviour.hang() if then is None else then
    return lambda request: Behaviour() if request.index < requests else dead
