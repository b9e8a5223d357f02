"""Whom to ask further, when many networks share few members: the choice that will regret least.

An answer that is paid for serves every network that its member is in. So a race over networks is
about members: with fewer of them, what is left of the budget reaches more examples, and the last
choice is made on better estimates; but a network whose member is dropped can't be chosen any more.
Both are weighed by simulation, as in the knowledge gradient (Frazier, Powell & Dayanik, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 200
"""Simulated futures."""
GROWTH = 1.25
"""Sets of networks that are weighed grow by this factor, from the best network to all of them."""
SLACK = 2.0
"""How much further than now the budget will reach: later choices drop members too."""

NO_MATTER = 1e-9
"""Sets whose regrets differ by no more count as equal, and the one that asks fewer goes on."""

Floats = NDArray[np.float64]


class Race(NamedTuple):
    """Where a race over networks stands."""

    scores: Floats
    """Networks x examples, all of which every network has seen."""
    members: NDArray[np.bool_]
    """Networks x members: whom each network asks."""
    total: int
    """How many examples there are."""
    budget: float
    """How many answers may still be paid for, one of each member on each example."""


class Wanted(NamedTuple):
    """What the search is for, on arrays of networks x futures."""

    losses: Callable[[Floats], Floats]
    """From true means to what choosing each network would lose."""
    choose: Callable[[Floats, Sequence[int]], NDArray[np.int64]]
    """From estimated means, and the networks that these rows are, to the row that is chosen."""


def worth_going_on(race: Race, wanted: Wanted, rng: np.random.Generator) -> list[int]:
    """The networks to go on with: all that some set of members can make."""
    truth = _futures(race, [], rng)[race.total]
    order = np.argsort(wanted.losses(truth).mean(axis=1), kind="stable")
    sets = list(_closed_sets(race.members, [int(place) for place in order]))
    reach = [_reach(race, chosen) for chosen in sets]
    futures = _futures(race, reach, rng)
    losses, column = wanted.losses(futures[race.total]), np.arange(DRAWS)
    regrets = []
    for chosen, examples in zip(sets, reach, strict=True):
        rows = wanted.choose(futures[examples][chosen], chosen)
        regrets.append(float(losses[np.array(chosen)[rows], column].mean()))
    fewest = min(n for n, regret in enumerate(regrets) if regret <= min(regrets) + NO_MATTER)
    return sorted(sets[fewest])


def _closed_sets(members: NDArray[np.bool_], order: Sequence[int]) -> Iterator[list[int]]:
    """The best networks, ever more of them, each time with all others that ask no one else."""
    size, before = 1, 0
    while True:
        asked = members[list(order[:size])].any(axis=0)
        closed = np.flatnonzero(~(members & ~asked).any(axis=1))
        if len(closed) > before:
            yield [int(place) for place in closed]
            before = len(closed)
        if size >= len(order):
            return
        size = min(len(order), max(size + 1, math.floor(size * GROWTH)))


def _reach(race: Race, chosen: Sequence[int]) -> int:
    """How many examples they will have seen when the budget is used up."""
    asked = int(race.members[list(chosen)].any(axis=0).sum())
    seen = race.scores.shape[1]
    return min(race.total, int(seen + SLACK * race.budget / max(1, asked)))


def _futures(race: Race, stops: Sequence[int], rng: np.random.Generator) -> dict[int, Floats]:
    """Means after so many examples, and after all, in simulated futures; they hang together.

    Means walk from what was seen to what all examples would show, with the covariance of the
    scores so far: networks that share members err alike.
    """
    seen = race.scores.shape[1]
    means = race.scores.mean(axis=1)
    deviations = race.scores - means[:, None]
    current = np.repeat(means[:, None], DRAWS, axis=1)
    at, futures = seen, {seen: current}
    for stop in sorted({*stops, race.total}):
        if stop > at:
            scale = math.sqrt((1 / at - 1 / stop) / seen)
            current = current + deviations @ rng.standard_normal((seen, DRAWS)) * scale
            at = stop
        futures[stop] = current
    return futures
