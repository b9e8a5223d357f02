"""The hypervolume of a front, by which searches for it are compared."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from evaluators.objective import Costs


def hypervolume(points: Iterable[Costs], reference: Costs) -> float:
    """The volume of what the points dominate, bounded by a reference point that is worse in all.

    Exact, in score times dollars times mean seconds; points beyond the reference do not count.
    """
    inside = [
        Costs(p.score - reference.score, reference.usd - p.usd, reference.latency_s - p.latency_s)
        for p in points
    ]
    gains = [gain for gain in inside if min(gain.score, gain.usd, gain.latency_s) > 0]
    levels = sorted({gain.latency_s for gain in gains}, reverse=True)
    volume = 0.0
    for level, below in itertools.pairwise([*levels, 0.0]):
        volume += (level - below) * _area([g for g in gains if g.latency_s >= level])
    return volume


def _area(gains: Sequence[Costs]) -> float:
    """The area that rectangles from the origin cover together."""
    area = height = 0.0
    for gain in sorted(gains, key=lambda gain: -gain.usd):
        if gain.score > height:
            area += gain.usd * (gain.score - height)
            height = gain.score
    return area
