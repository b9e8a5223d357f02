"""Scales of plots: from values to pixels, with round values to mark."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, *, log: bool = False) -> Scale:
        """A scale from `start` to `end`, in pixels, that holds all finite values with some room.

        With `log`, if all values are positive, equal ratios are equally far apart.
        """
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        if log and low > 0:
            room = max(0.06 * math.log(high / low), 0.2)
            return cls(low * math.exp(-room), high * math.exp(room), start, end, log=True)
        is_span = high - low > 1e-6 * abs(high)  # less is the noise of rounding
        room = 0.06 * (high - low) if is_span else 0.05 * abs(high) or 1.0
        return cls(low - room if low else 0.0, high + room, start, end)

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside are drawn at the nearer end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return round(self.start + (self.end - self.start) * (at - low) / (high - low), 1)

    def ticks(self) -> list[float]:
        """A few round values."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            decades = range(first, last + 1, 1 + (last - first) // 15)
            span = self.high / self.low
            steps = (1, 2, 5) if span < 30 else (1, 3) if span < 1000 else (1,)
            marks = [m * 10.0**d for d in decades for m in steps]
            inside = [mark for mark in marks if self.low <= mark <= self.high]
            if len(inside) > 2:
                return inside
        about = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(about))
        step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= about * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [step * n for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
