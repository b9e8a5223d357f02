"""The exact sign test of examples gained against examples lost (McNemar's exact test)."""

from __future__ import annotations

import math

LEVEL = 0.025
"""Of the one-sided test, as at the low end of a 95% interval."""


def fewest_gained(lost: int) -> int:
    """How many examples must be gained, where so many are lost, for the gain to be shown.

    For scores of 0 and 1, the low end of `paired_interval` is above 0 exactly then. Without a loss
    it takes 6.
    """
    gained = 0
    while _tail(lost, gained + lost) > LEVEL:
        gained += 1
    return gained


def _tail(lost: int, changed: int) -> float:
    """Probability of at most so many losses among the changed examples, if both are as likely."""
    return sum(math.comb(changed, losses) for losses in range(lost + 1)) / float(2**changed)
