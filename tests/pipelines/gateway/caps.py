"""What tests of caps share."""

from __future__ import annotations

from hypothesis import Phase

UNSHRUNK = [Phase.explicit, Phase.generate]
"""Shrinking would repeat a hundred calls over HTTP hundreds of times."""


def bytes_as_tokens(text: str) -> int:
    """The worst tokenizer there can be."""
    return len(text.encode())
