"""A figure that is not known yet: the least, about how much, and the most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """A range with its typical value; all three in one unit."""

    low: float
    typical: float
    high: float

    def plus(self, other: Span) -> Span:
        """The sum, end by end."""
        return Span(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, other: Span) -> Span:
        """The product, end by end."""
        return Span(*(a * b for a, b in zip(self, other, strict=True)))

    def scaled(self, factor: float) -> Span:
        """All three multiplied by the same factor."""
        return Span(*(factor * value for value in self))


def exactly(value: float) -> Span:
    """A figure without uncertainty."""
    return Span(value, value, value)


NOTHING = exactly(0.0)


def total(spans: Iterable[Span]) -> Span:
    """The sum of all, end by end."""
    return Span(*map(sum, zip(NOTHING, *spans, strict=True)))
