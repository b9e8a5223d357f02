"""Races over networks that share members: an answer is paid for once and serves all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from evaluators.objective import Costs, Objective
from optimizer.search.state import SearchState
from optimizer.stages.structure.lookahead import Floats, Race, Wanted, worth_going_on
from pipelines.llms.call import BudgetExhausted
from search_spaces import PipelineConfig

STEPS = 7
"""So often members may be dropped on the way through all examples."""
FEWEST = 50
"""Examples before the first is dropped, and between."""
SHARE = 0.5
"""Of the calls that asking every member on every example would take, so many may be made; those
that were paid before count too."""
LEAST = 0.25
"""Of the calls that are still ahead, so many may be made whatever was paid before."""
SHORTFALL = 4.0
"""Where the cheapest is sought: what a score costs that misses the bar by as much as is allowed."""


def race_networks(state: SearchState, stage: str, configs: Sequence[PipelineConfig]) -> None:
    """Find the best of many networks without asking all their members on all examples.

    Raises:
        BudgetExhausted: the run's own budget does not reach; what was found by then is taken.
    """
    every = list({config.key: config for config in configs}.values())
    finished, cut_off = _narrowed(state, every)
    state.conclude(stage, every, finished, cut_off)


def _narrowed(
    state: SearchState, running: list[PipelineConfig]
) -> tuple[list[PipelineConfig], BudgetExhausted | None]:
    """Those that were not dropped on the way, of which the best is to be taken."""
    rng = np.random.default_rng(state.seed)
    total = len(state.examples)
    ahead = state.forecast.calls(list(product(running, state.examples)))
    everything = _members(state, running).shape[1] * total
    budget = max(SHARE * everything - (everything - ahead), LEAST * ahead)
    step = max(FEWEST, total // STEPS)
    seen = 0
    for size in [*range(step, total, step), total]:
        price = state.forecast.calls(list(product(running, state.examples[:size])))
        if seen and price > budget:
            size = seen + int((size - seen) * budget / price)  # as far as it reaches
            price = state.forecast.calls(list(product(running, state.examples[:size])))
        if size == seen:
            break
        try:
            state.run_on(running, size)
        except BudgetExhausted as exhausted:
            return running, exhausted
        budget, seen = max(0.0, budget - price), size
        running = [c for c in running if not state.evaluator.known(c).disqualified]
        if len(running) <= 1:
            break
        members, scores = _members(state, running), _scores(state, running, size)
        race = Race(scores, members, total, budget)
        running = [running[place] for place in worth_going_on(race, _wanted(state, running), rng)]
    return running, None


def _members(state: SearchState, configs: Sequence[PipelineConfig]) -> NDArray[np.bool_]:
    """Configs x calls on an example: who makes which."""
    groups = sorted({group for config in configs for group in state.forecast.call_groups(config)})
    rows = [[group in state.forecast.call_groups(config) for group in groups] for config in configs]
    return np.array(rows, dtype=bool)


def _scores(state: SearchState, configs: Sequence[PipelineConfig], size: int) -> Floats:
    """Configs x examples, without examples that an outage left unscored for any."""
    known = [state.evaluator.known(config).scores for config in configs]
    common = [i for i in state.examples[:size] if all(i in scores for scores in known)]
    return np.array([[scores[i] for i in common] for scores in known], dtype=np.float64)


def _wanted(state: SearchState, configs: Sequence[PipelineConfig]) -> Wanted:
    costs = [state.evaluator.known(config).costs for config in configs]
    over = np.array([state.objective.excess(cost) for cost in costs])
    if state.objective.within is not None:
        singles = [config.single_model is not None for config in configs]
        return _cheapest(state.objective, costs, np.array(singles), over)
    return _best(over)


def _best(over: Floats) -> Wanted:
    """The best score among those that meet the limits."""
    handicap = np.maximum(0.0, over - 1)  # as good as lost, the more the further over

    def losses(means: Floats) -> Floats:
        worth: Floats = means - handicap[:, None]
        lost: Floats = worth.max(axis=0) - worth
        return lost

    def choose(means: Floats, rows: Sequence[int]) -> NDArray[np.int64]:
        return np.asarray(np.argmax(means - handicap[list(rows), None], axis=0))

    return Wanted(losses, choose)


def _cheapest(
    objective: Objective, costs: Sequence[Costs], singles: NDArray[np.bool_], over: Floats
) -> Wanted:
    """The least dollars among those whose score is near enough to the best."""
    usd = np.array([cost.usd for cost in costs])
    margin = objective.tolerance
    relative = singles if objective.of == "single_model" and singles.any() else singles | True
    barred = np.where(over > 1, np.inf, 0.0)

    def bar(means: Floats, rows: Sequence[int]) -> Floats:
        reference = relative[list(rows)]
        best: Floats = means[reference if reference.any() else slice(None)].max(axis=0)
        return best - margin

    def losses(means: Floats) -> Floats:
        wanted = bar(means, range(len(usd)))
        price = np.where(means >= wanted - 1e-12, usd[:, None] + barred[:, None], np.inf)
        least = np.where(np.isinf(price).all(axis=0), usd.min(), price.min(axis=0))
        missed = np.maximum(0.0, wanted - means) / max(margin, 1e-9)
        dearer: Floats = np.maximum(0.0, usd[:, None] / np.maximum(least, 1e-12) - 1)
        lost: Floats = dearer + SHORTFALL * missed
        return lost

    def choose(means: Floats, rows: Sequence[int]) -> NDArray[np.int64]:
        own = usd[list(rows), None] + barred[list(rows), None]
        near = means >= bar(means, rows) - 1e-12
        return np.asarray(np.argmin(np.where(near, own - 1e-9 * means, np.inf), axis=0))

    return Wanted(losses, choose)
