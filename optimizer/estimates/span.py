"""A figure that is not known yet: the least, the typical, and the most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """A range with its typical value; all three in one unit. Sums and products go end by end."""

    low: float
    typical: float
    high: float

    def __add__(self, other: Span) -> Span:  # type: ignore[override]
        return Span(*(a + b for a, b in zip(self, other, strict=True)))

    def __mul__(self, other: Span | float) -> Span:  # type: ignore[override]
        factors = other if isinstance(other, Span) else exactly(other)
        return Span(*(a * b for a, b in zip(self, factors, strict=True)))


def exactly(value: float) -> Span:
    """A figure without uncertainty."""
    return Span(value, value, value)


NOTHING = exactly(0.0)


def total(spans: Iterable[Span]) -> Span:
    """The sum of all."""
    return sum(spans, start=NOTHING)
