"""The exact sign test of examples gained against examples lost (McNemar's exact test)."""

from __future__ import annotations

import math


def fewest_gained(lost: int, confidence: float = 0.95) -> int:
    """How many examples must be gained, where so many are lost, for the gain to be shown.

    "Shown" is what `paired_interval` means by a low end above 0, for scores of 0 and 1: the
    one-sided sign test rejects at `(1 - confidence) / 2`. Without a loss it takes 6 at 95%.

    Raises:
        ValueError: `lost` is below 0, or `confidence` is not between 0 and 1.
    """
    if lost < 0 or not 0 < confidence < 1:
        raise ValueError(
            "`lost >= 0` and `0 < confidence < 1` must hold, but got "
            f"(lost={lost}, confidence={confidence})"
        )
    gained = 0
    while _tail(lost, gained + lost) > (1 - confidence) / 2:
        gained += 1
    return gained


def _tail(lost: int, changed: int) -> float:
    """Probability of at most so many losses among the changed examples, if both are as likely."""
    return sum(math.comb(changed, losses) for losses in range(lost + 1)) / float(2**changed)
