"""Search strategies: what to run next, on a table of scores and on live pipelines alike."""

from __future__ import annotations

from collections.abc import Mapping

from optimizer.search.strategies.arena import Arena, Levels, Strategy, named
from optimizer.search.strategies.halving import Halving
from optimizer.search.strategies.llmselector import LLMSelector
from optimizer.search.strategies.posterior_search import PosteriorSearch
from optimizer.search.strategies.whole_runs import TPE, Exhaustive, RandomSearch

STRATEGIES: Mapping[str, Strategy] = {
    each.name: each
    for each in (
        PosteriorSearch(),
        LLMSelector(),
        Halving(),
        Exhaustive(),
        RandomSearch(),
        TPE(),
    )
}
"""The strategies by the names that users write."""

__all__ = ["STRATEGIES", "Arena", "Levels", "Strategy", "named"]
