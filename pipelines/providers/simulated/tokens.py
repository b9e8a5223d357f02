"""Tokens of simulated models: one for every four UTF-8 bytes, rounded up.

That is about what English costs with common tokenizers, and it never exceeds the number of bytes,
which is the bound that a budget reserves input by.
"""

from __future__ import annotations

from collections.abc import Sequence

BYTES_PER_TOKEN = 4
MOST_OUTPUT_TOKENS = 32_000
"""What a reply is cut at where the call sets no limit."""


def count_tokens(text: str) -> int:
    """Return the tokens of one text; an empty text has none."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def count_message_tokens(texts: Sequence[str]) -> int:
    """Return the input tokens of a call, given the content of each of its messages."""
    return sum(count_tokens(text) for text in texts)


def truncate(text: str, max_tokens: int) -> str:
    """Return the longest beginning of `text` that has at most `max_tokens` tokens."""
    return text.encode()[: max_tokens * BYTES_PER_TOKEN].decode(errors="ignore")
