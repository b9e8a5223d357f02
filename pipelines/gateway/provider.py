"""The interface of providers, which make the calls of the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from pipelines.gateway.call import LMCall
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError, Price

Knob = Literal["temperature", "reasoning_effort", "response_format", "tools"]


@dataclass(frozen=True)
class ProviderReply:
    """What a provider sent, as it came: the gateway checks its figures."""

    text: str
    finish_reason: str | None
    """`stop`, `length` (cut off by `max_tokens`), `content_filter`, ..."""
    latency_s: float
    """Seconds that the model took: from the request to the whole reply."""
    input_tokens: object = None
    output_tokens: object = None
    """As the provider counts them; None if it does not say."""
    unseen_text: str = ""
    """Thoughts that it also wrote, which count where it does not say how many tokens it used."""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    """In OpenAI's form, as they came."""
    listed_usd: float | None = None
    """What so many tokens cost by the provider's own price list, discounts included."""


class BatchResults(NamedTuple):
    """What a batch brought."""

    lines: Mapping[str, Mapping[str, Any]]
    """Lines of its output and error files, by the keys of their calls."""
    problem: str
    """Why calls without a line were not made, at no cost; empty if all calls were made."""


class BatchEndpoint(Protocol):
    """Sends calls together, to be answered within hours. On the event loop."""

    async def create(self, calls: Sequence[LMCall], timeout_s: float, /) -> str:
        """Send a batch of calls to one model; return its id.

        Raises:
            CallFailed: it was not accepted; or, where `billed`, whether it was is unknown.
        """
        ...

    async def results(self, call: LMCall, batch: str, timeout_s: float, /) -> BatchResults | None:
        """The results of a batch that the call was sent in; None as long as there are none.

        Raises:
            CallFailed: they can't be had; at a later time perhaps, where `retryable` or `away`.
        """
        ...

    def reply(self, call: LMCall, results: BatchResults, /) -> ProviderReply:
        """The reply to one of its calls.

        Raises:
            CallFailed: it brought none.
        """
        ...


class Provider(Protocol):
    """Makes calls, and knows what they cost. Providers inherit from it."""

    limits: str
    """What its models can't do by their nature, for errors where nothing works; may be empty."""
    connects: bool
    """Whether its calls need a server, which may be away or refuse them: only a call shows that."""

    def problem_of(self, model: Model, /, *, keys: bool = True) -> str | None:
        """What keeps the model from being called, as far as it shows without a call: its price.

        Args:
            model: which.
            keys: whether a missing API key counts.
        """
        try:
            self.price_of(model)
        except ModelError as error:
            return str(error)
        return None

    def price_of(self, model: Model, /) -> Price:
        """What the model's tokens cost.

        Raises:
            ModelError: no price is known.
        """
        ...

    def takes(self, model: Model, knob: Knob, value: Any, /) -> bool:
        """Whether a value of a knob changes what the model is asked, as far as is known."""
        ...

    async def send(self, call: LMCall, timeout_s: float, /) -> ProviderReply:
        """Make the call once, on the gateway's event loop; cancelled, it disconnects.

        A request that the server refused for a parameter may be followed by one without it.

        Args:
            call: what to ask.
            timeout_s: bounds each wait for bytes, not their sum.

        Raises:
            CallFailed: it brought no answer; see `failures`.
        """
        ...
