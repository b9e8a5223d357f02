"""What the loopback server counts: requests, tokens and dollars, apart from any client's count."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.loopback.replies import images_of
from pipelines.providers.output_fields import message_text

CountTokens = Callable[[str], int]
"""Text to tokens: monotonous in the text's prefixes, zero for the empty text."""

TOKENS_PER_MESSAGE = 4
"""What a chat template adds around each message (OpenAI's cookbook says 3, plus 3 per prompt)."""
TOKENS_PER_IMAGE = 765
"""Of one of 1024 x 1024 pixels, as GPT-4o counts it."""


def quarter_of_bytes(text: str) -> int:
    """A token for four UTF-8 bytes, rounded up."""
    return -(-len(text.encode()) // 4)


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens."""

    input: float
    output: float


@dataclass(frozen=True)
class Usage:
    """Tokens of one request."""

    input_tokens: int
    output_tokens: int

    def usd(self, price: Price) -> float:
        """Dollars at this price."""
        return (self.input_tokens * price.input + self.output_tokens * price.output) / 1e6

    def until(self, share: float) -> Usage:
        """What was used when so much of the output was written."""
        return Usage(self.input_tokens, math.ceil(self.output_tokens * share))


def input_tokens(
    messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any], count: CountTokens
) -> int:
    """Tokens of the messages with what the chat template adds, of images and of tools."""
    written = [message_text(message) for message in messages]
    texts = [*written, *(json.dumps(m["tool_calls"]) for m in messages if m.get("tool_calls"))]
    texts += [json.dumps(params[name]) for name in ("tools", "response_format") if params.get(name)]
    fixed = len(messages) * TOKENS_PER_MESSAGE + len(images_of(messages)) * TOKENS_PER_IMAGE
    return sum(map(count, texts)) + fixed


def cut(text: str, most: int | None, count: CountTokens) -> tuple[str, str]:
    """The longest prefix of at most so many tokens, with its finish reason."""
    if most is None or count(text) <= most:
        return text, "stop"
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle]) <= most else (low, middle - 1)
    return text[:low], "length"


class Meter:
    """Running counts of one server. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.in_flight = 0
        """Requests being served now."""
        self.requests_by_model: Counter[str] = Counter()
        self.usages: list[Usage] = []
        """Of every request that the model ran for, answered or not."""
        self.peak_in_flight = 0
        self.abandoned = 0
        """Requests whose client left before it was answered."""
        self._charges: list[float] = []

    @property
    def requests(self) -> int:
        """Completions asked for, however they ended."""
        return self.requests_by_model.total()

    @property
    def usd(self) -> float:
        """Dollars charged; exactly rounded, so that it does not depend on the order."""
        with self._lock:
            return math.fsum(self._charges)

    @contextmanager
    def request(self, model: str) -> Iterator[int]:
        """Count a request in, yield how many came before it, and count it out of flight."""
        with self._lock:
            index = self.requests
            self.requests_by_model[model] += 1
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            yield index
        finally:
            with self._lock:
                self.in_flight -= 1

    def abandon(self) -> None:
        """Count a request whose client left."""
        with self._lock:
            self.abandoned += 1

    def bill(self, usage: Usage, price: Price) -> None:
        """Charge for one run of a model."""
        with self._lock:
            self.usages.append(usage)
            self._charges.append(usage.usd(price))
