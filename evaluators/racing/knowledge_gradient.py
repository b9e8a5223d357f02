"""Chooses which candidates to run next, by the expected gain of the coming calls.

Running few candidates reaches many examples, running many leaves fewer for each. For nested sets of
candidates, the most promising first, the posterior after spending a number of calls on the set is
simulated, and the set with the best expected final choice runs next (the knowledge gradient:
Frazier, Powell & Dayanik, 2008, https://doi.org/10.1137/070693424).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluators.racing.field import Field
from evaluators.racing.posterior import Floats, Posterior, mean_scores

DRAWS = 256
"""Simulated futures."""
GROWTH = 1.6
"""Nested sets grow by this factor, from one candidate to all of them."""

Value = Callable[[Floats], Floats]
"""Maps posterior means in D futures (C x D) to the value of the choice made in each (D)."""


class Plan(NamedTuple):
    """What to run next."""

    candidates: NDArray[np.int64]
    """Empty where nothing is left to run."""
    gain: float
    """By how much the planned calls are expected to improve the final choice, in units of value."""


def best_mean(means: Floats) -> Floats:
    """The best score, for objectives of quality alone."""
    highest: Floats = means.max(axis=0)
    return highest


def plan(
    posterior: Posterior,
    field: Field,
    calls: float,
    rng: np.random.Generator,
    value: Value = best_mean,
) -> Plan:
    """The candidates on which this many calls are best spent, by simulation."""
    unfinished = field.unfinished
    if not unfinished.size:
        return Plan(unfinished, 0.0)
    now = float(value(posterior.mean[:, None])[0])
    chances = np.bincount(
        posterior.draws(DRAWS, rng)[unfinished].argmax(axis=0), minlength=unfinished.size
    )
    variance = posterior.covariance.diagonal()[:, None]
    optimistic = (posterior.ability + np.sqrt(variance[:, 0])).round(9)
    ranked = unfinished[np.lexsort((-optimistic[unfinished], -chances))]
    normal = rng.standard_normal((unfinished.size, DRAWS))
    normal -= normal.mean(axis=1, keepdims=True)
    best = Plan(ranked[:1], -np.inf)
    for size in _sizes(ranked.size):
        chosen = ranked[:size]
        change, known = _change(posterior, chosen, _reach(field, chosen, calls), normal[:size])
        means = mean_scores(posterior.ability[:, None] + change, variance - known[:, None])
        gain = float(value(means).mean()) - now
        if gain > best.gain + 1e-9:
            best = Plan(chosen, gain)
    return best


def _sizes(most: int) -> Iterator[int]:
    size = 1
    while size < most:
        yield size
        size = max(size + 1, int(size * GROWTH))
    yield most


def _reach(field: Field, chosen: NDArray[np.int64], calls: float) -> Floats:
    """The number of further examples on which each chosen candidate will be run."""
    lacking = ~field.ran[chosen]
    needed = lacking.any(axis=0)
    costs = np.cumsum(field.new_calls(chosen)[needed])
    steps = np.maximum(np.diff(costs, prepend=0), 1)
    within = np.clip(1 - (costs - calls) / steps, 0.0, 1.0)
    reached: Floats = lacking[:, needed] @ within
    return reached


def _change(
    posterior: Posterior, chosen: NDArray[np.int64], examples: Floats, normal: Floats
) -> tuple[Floats, Floats]:
    """What running the chosen candidates may change: simulated changes of the expected abilities
    (C x D), and by how much their variances fall (C)."""
    counts = np.maximum(examples, 1e-3)
    noise = posterior.noise[np.ix_(chosen, chosen)] / np.maximum(counts[:, None], counts[None])
    shown = posterior.covariance[np.ix_(chosen, chosen)] + noise
    shown[np.diag_indices(chosen.size)] += 1e-9
    lower = np.linalg.cholesky(shown)
    shift: Floats = np.linalg.solve(lower, posterior.covariance[chosen])
    return shift.T @ normal, (shift**2).sum(axis=0)
