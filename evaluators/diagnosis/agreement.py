"""How far the diagnoser's ratings agree with what was measured end to end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

CLEAR_DIFFERENCE = 0.4
"""Ratings closer than this are called equal: they claim nothing about which output is better."""
COIN_PAIRS = 4
"""Before any pair was seen anywhere, the diagnoser counts as a coin tossed so often."""
PRIOR_PAIRS = 12
"""How it did on other modules weighs as much as so many pairs of the module's own."""


@dataclass(frozen=True)
class Agreement:
    """Of the pairs in which ratings and scores both differ, how many differ the same way."""

    concordant: int = 0
    discordant: int = 0
    elsewhere: float | None = None
    """The same diagnoser's rate on other modules, if it is known."""

    @property
    def compared(self) -> int:
        """How many pairs told anything."""
        return self.concordant + self.discordant

    @property
    def rate(self) -> float:
        """Share of concordant pairs in [0, 1]; while pairs are few, drawn to what is expected."""
        expected, weight = (
            (0.5, COIN_PAIRS) if self.elsewhere is None else (self.elsewhere, PRIOR_PAIRS)
        )
        return (self.concordant + weight * expected) / (self.compared + weight)

    @property
    def trust(self) -> float:
        """0 when the ratings are no better than a coin, 1 when they are always right."""
        return max(0.0, 2 * self.rate - 1)

    def may_drop(self, candidates: int) -> int:
        """How many of so many candidates the diagnoser's word alone may drop."""
        return min(int(self.trust * (candidates - 1)), max(0, candidates - 2))


def agreement(pairs: Iterable[tuple[float, float]]) -> Agreement:
    """Count the pairs that tell anything.

    Args:
        pairs: by how much two outputs differ in rating, and in the end-to-end score that followed;
            both on the same inputs of the module, so that only the output differs.
    """
    telling = [
        rating * score for rating, score in pairs if abs(rating) >= CLEAR_DIFFERENCE and score != 0
    ]
    concordant = sum(product > 0 for product in telling)
    return Agreement(concordant, len(telling) - concordant)


def given_others(own: Agreement, others: Iterable[Agreement]) -> Agreement:
    """`own`, expected to be like the same diagnoser's agreement on other modules."""
    others = list(others)
    if not others:
        return own
    pooled = Agreement(sum(o.concordant for o in others), sum(o.discordant for o in others))
    return replace(own, elsewhere=pooled.rate)
