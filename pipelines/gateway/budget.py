"""Budgets and spend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real

from search_spaces.refusals import refusing_with

PICO = 10**12
"""Dollars are counted in whole picodollars, so that sums are exact in any order."""


@refusing_with(
    ValueError,
    instead={
        "dollars": "usd=...",
        "cost": "usd=...",
        "minutes": "seconds=60 * minutes",
        "hours": "seconds=3600 * hours",
        "tokens": "usd=... bounds what tokens cost",
    },
)
@dataclass(frozen=True)
class Budget:
    """Caps that are never exceeded: dollars and calls exactly, seconds up to the calls in flight.

    A cap of None does not limit.

    Raises:
        ValueError: an unknown cap, one that is no finite number above 0, or no whole number of
            calls.
    """

    usd: float | None = None
    calls: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, kind in (("usd", Real), ("calls", Integral), ("seconds", Real)):
            cap = getattr(self, name)
            if cap is None:
                continue
            number = isinstance(cap, kind) and not isinstance(cap, bool)
            if not number or not 0 < cap < math.inf:
                rule = "a whole number" if kind is Integral else "a finite number"
                raise ValueError(
                    f"Budget({name}=...) must be {rule} above 0, or None for no cap, "
                    f"but got {cap!r}"
                )


@dataclass(frozen=True)
class PurposeSpend:
    """What one purpose (task, diagnoser, judge, prompts) took."""

    usd: float = 0.0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


def total(costs: Iterable[PurposeSpend]) -> PurposeSpend:
    """The sum of costs."""
    parts = list(costs)
    return PurposeSpend(
        math.fsum(part.usd for part in parts),
        sum(part.calls for part in parts),
        sum(part.input_tokens for part in parts),
        sum(part.output_tokens for part in parts),
    )


@dataclass(frozen=True)
class Spend:
    """What was spent, in all and by purpose."""

    by_purpose: Mapping[str, PurposeSpend] = field(default_factory=dict)

    @property
    def usd(self) -> float:
        """Dollars."""
        return sum(picodollars(part.usd) for part in self.by_purpose.values()) / PICO

    @property
    def calls(self) -> int:
        """Calls, each retry counted."""
        return sum(part.calls for part in self.by_purpose.values())

    @property
    def input_tokens(self) -> int:
        """Tokens sent."""
        return sum(part.input_tokens for part in self.by_purpose.values())

    @property
    def output_tokens(self) -> int:
        """Tokens received."""
        return sum(part.output_tokens for part in self.by_purpose.values())


class RunningSpend:
    """A sum of calls by purpose, in whole picodollars: the same in whatever order they come."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int, int, int]] = {}

    def add(self, purpose: str, cost: PurposeSpend) -> None:
        """Count a call, or several."""
        pico, calls, inputs, outputs = self._sums.get(purpose, (0, 0, 0, 0))
        self._sums[purpose] = (
            pico + picodollars(cost.usd), calls + cost.calls,
            inputs + cost.input_tokens, outputs + cost.output_tokens,
        )  # fmt: skip

    @property
    def spend(self) -> Spend:
        """The sum so far."""
        parts = sorted(self._sums.items())
        return Spend({name: PurposeSpend(pico / PICO, *rest) for name, (pico, *rest) in parts})


def picodollars(usd: float) -> int:
    """Dollars as whole picodollars."""
    return round(usd * PICO)
