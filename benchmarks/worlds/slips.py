"""The slips of the pen that turn a right value into a plausible wrong one."""

from __future__ import annotations

from datetime import date, timedelta


def word_slips(word: str) -> tuple[str, ...]:
    """Return words that a small mistake in writing `word` leads to."""
    last = len(word) - 1
    swaps = [
        word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        for i in sorted({0, last // 2, last - 1})
        if 0 <= i < last
    ]
    drops = [word[:i] + word[i + 1 :] for i in (last // 2, last) if last > 1]
    doubled = word[: last // 2] + word[last // 2 :][:1] + word[last // 2 :]
    return tuple(swap for swap in [*swaps, *drops, doubled] if swap)


def date_slips(day: date) -> tuple[str, ...]:
    """Return ISO dates that a small mistake in counting to `day` leads to."""
    slips = []
    for days in (1, -1, 2, 30, -31, 365, -366):
        try:
            slips.append((day + timedelta(days=days)).isoformat())
        except OverflowError:
            continue
    return tuple(slips)
