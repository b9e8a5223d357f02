"""One call to a language model, what comes back, and how it can fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

from pipelines.gateway.budget import PurposeSpend, total
from pipelines.gateway.input_bound import most_input_tokens
from pipelines.gateway.model import Model
from pipelines.gateway.params import check_params

Purpose = Literal["task", "diagnoser", "judge", "prompts", "check"]


@dataclass(frozen=True)
class LMCall:
    """Everything that decides what a model answers, and what the call is for."""

    model: Model
    messages: tuple[Mapping[str, Any], ...]
    temperature: float | None = None
    sample: int = 0
    """Which draw of an otherwise equal call this is."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of this call alone; the same are refused as in `Model.params`."""
    purpose: Purpose = "task"

    def __post_init__(self) -> None:
        check_params(self.params)

    @cached_property
    def key(self) -> str:
        """SHA-256 over model, address, messages, parameters and sample index."""
        parts = [
            self.model.name,
            self.model.destination,
            self.model.max_tokens,
            self.model.params,
            self.messages,
            self.temperature,
            self.sample,
            self.params,
        ]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def batch_key(self) -> str:
        """What its reply is kept under if a batch brings it: that has no latency."""
        return batch_key(self.key)

    @property
    def seed(self) -> int:
        """What travels as the seed: see `seed_of`."""
        return seed_of(self.messages, self.sample)

    @property
    def all_params(self) -> dict[str, Any]:
        """Those of the model, and over them the call's own."""
        return {**self.model.params, **self.params}

    @cached_property
    def most_input_tokens(self) -> int:
        """A bound on the input tokens; see `input_bound`."""
        return most_input_tokens(self.model.name, self.messages, self.all_params)


def batch_key(key: str) -> str:
    """As `LMCall.batch_key`, of the call of this key."""
    return f"{key}.batch"


def seed_of(messages: Sequence[Mapping[str, Any]], sample: int) -> int:
    """A number in [0, 2^31) for each draw of each prompt.

    A server restarts its random numbers from the seed: with the sample's index alone, all examples
    would share one stream, and draws for different examples would not be independent.
    """
    text = json.dumps([list(messages), sample], sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True)
class LMReply:
    """What a model answered."""

    text: str
    """Empty if it answered with tool calls alone."""
    finish_reason: str
    """`stop`, `length` (cut off by `max_tokens`), `tool_calls`, `content_filter`, ..."""
    input_tokens: int
    output_tokens: int
    usd: float
    """What the provider charged, paid now or when it was first recorded."""
    latency_s: float
    """Seconds that the call took when it was first made; NaN if a batch brought it."""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    """In OpenAI's form, as the model wrote them: arguments may be no JSON, or a name missing."""
    cached: bool = False
    """Whether it was answered from the cache, at no cost."""

    @property
    def cost(self) -> PurposeSpend:
        """What the whole reply costs."""
        return PurposeSpend(self.usd, 1, self.input_tokens, self.output_tokens)


@dataclass(frozen=True)
class CallRace:
    """Which of several calls finished first, what they answered, and what the others cost."""

    winners: tuple[int, ...]
    """Their places among the calls, in the order in which they finished."""
    replies: tuple[LMReply, ...]
    """Theirs, in the same order."""
    lost: tuple[PurposeSpend, ...]
    """By the place of each call, what it had written and was thrown away: nothing of the winners,
    nor of calls that were never sent."""

    @property
    def losers(self) -> PurposeSpend:
        """What was thrown away in all; calls that were never sent don't count."""
        return total(self.lost)

    @property
    def cost(self) -> PurposeSpend:
        """The cost of all calls when the race was held."""
        return total([*(reply.cost for reply in self.replies), self.losers])

    @property
    def latency_s(self) -> float:
        """Seconds until the last winner had finished."""
        return max(reply.latency_s for reply in self.replies)


class CallFailed(Exception):
    """A call that brought no answer, after all retries.

    `infrastructure` tells an outage, which says nothing about the model, from what the model
    did itself (a refusal, an answer cut off or unreadable, a prompt beyond its context window).
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        sent: bool = True,
        retryable: bool = False,
        billed: bool = False,
        away: bool = False,
        retry_after: float | None = None,
        attempts: int = 1,
        latency_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.sent = sent
        """Whether something was sent."""
        self.retryable = retryable
        self.away = away
        """Whether the provider can't be reached or is starting."""
        self.billed = billed
        """Whether the provider may have charged for it: the outcome is unknown."""
        self.retry_after = retry_after
        """Seconds that the provider asks to wait."""
        self.attempts = attempts
        self.latency_s = latency_s
        """Seconds that count for it: none, but NaN if a batch brought it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers send it home."""
        return partial(CallFailed, message=str(self), **vars(self)), ()

    @property
    def infrastructure(self) -> bool:
        """Whether it says nothing about the model."""
        return self.kind not in ("refusal", "truncated", "unparsable", "context_window")


class BudgetExhausted(BaseException):
    """The next call could break a cap. Not an `Exception`: nothing but `optimize` may catch it."""
