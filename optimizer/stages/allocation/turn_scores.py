"""The module scores of one turn of the allocation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from optimizer.search.config_arena import ConfigArena
from optimizer.search.records.module_score import Decision, ModuleScore
from optimizer.search.state import SearchState
from optimizer.stages.allocation.module_scores import ModuleRatings
from search_spaces import PipelineConfig

UNLIKELY = 0.05
"""Models that are better than the incumbent's with a lower probability are eliminated."""


def turn_scores(
    state: SearchState,
    before: PipelineConfig,
    choices: Mapping[str, Sequence[str]],
    rated: Mapping[str, ModuleRatings],
    arena: ConfigArena | None,
) -> list[ModuleScore]:
    """The module scores of the turn that ends now.

    Args:
        state: whose incumbent is the turn's outcome.
        before: the incumbent when the turn began.
        choices: labels of the models to choose from, by module.
        rated: the diagnoser's ratings, by module; empty without a diagnoser.
        arena: of the allocations; None where the turn ended before.
    """
    measured = {} if arena is None else {c.key: place for place, c in enumerate(arena.configs)}
    return [
        score
        for module, labels in choices.items()
        for score in _of_module(state, before, module, labels, rated.get(module), arena, measured)
    ]


def mixed_scores(state: SearchState) -> list[ModuleScore]:
    """For modules whose members ask different models, a row without figures for each model."""
    return [
        ModuleScore(
            module=module,
            model=label,
            turn=state.turn,
            examples=0,
            **dict.fromkeys(("rating", "agreement", "measured", "measured_se")),
            decision="members differ",
        )
        for module in state.space.models
        if module not in state.uniform
        for label in dict.fromkeys(state.incumbent.modules[module].labels)
    ]


def _of_module(
    state: SearchState,
    before: PipelineConfig,
    module: str,
    labels: Sequence[str],
    rated: ModuleRatings | None,
    arena: ConfigArena | None,
    places: Mapping[str, int],
) -> list[ModuleScore]:
    swapped = {label: state.incumbent.with_models({module: label}) for label in labels}
    found = {label: places[config.key] for label, config in swapped.items() if config.key in places}
    means = {label: float(arena.posterior.mean[place]) for label, place in found.items() if arena}
    seen = {mean for mean in arena.means()[[*found.values()]] if np.isfinite(mean)} if arena else ()
    agreement = _agreement(rated, means) if len(seen) > 1 else None  # else it is of ratings alone
    scores = []
    for label in labels:
        measured = spread = better = None
        if arena is not None and label in found:
            place, posterior = found[label], arena.posterior
            measured, spread = means[label], float(posterior.spread[place])
            better = posterior.probability_better(place, places[state.incumbent.key])
        had, has = (label in config.allocation[module] for config in (before, state.incumbent))
        scores.append(
            ModuleScore(
                module=module,
                model=label,
                turn=state.turn,
                examples=len(rated.ratings.get(label, {})) if rated else 0,
                rating=rated.mean(label) if rated else None,
                agreement=agreement,
                measured=measured,
                measured_se=spread,
                decision=_decision(had, has, better),
            )
        )
    return scores


def _agreement(rated: ModuleRatings | None, means: Mapping[str, float]) -> float | None:
    """The share of pairs of models that ratings and estimates order alike; None without pairs."""
    if rated is None:
        return None
    ratings = {label: rated.mean(label) for label in means}
    known = {label: rating for label, rating in ratings.items() if rating is not None}
    signs = [
        np.sign(known[one] - known[other]) * np.sign(means[one] - means[other])
        for one, other in combinations(known, 2)
    ]
    untied = [sign > 0 for sign in signs if sign]
    return float(np.mean(untied)) if untied else None


def _decision(had: bool, has: bool, better: float | None) -> Decision:
    if has:
        return "kept" if had else "chosen"
    if better is None:
        return "not rated"
    return "promising" if better >= UNLIKELY else "eliminated"
