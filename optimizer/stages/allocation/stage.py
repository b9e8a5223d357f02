"""Chooses a model for every module: LLMSelector's module scores in a search over allocations.

The module under test runs with every model on the same upstream values, and the diagnoser rates
the distinct outputs (arXiv 2502.14815). Its ratings enter the model of end-to-end scores as a
regressor, so that they count as far as they agree with what is measured. Allocations then run end
to end, those first from which the search expects to gain most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from evaluators.racing.posterior import Floats
from optimizer.search.config_arena import ConfigArena
from optimizer.search.state import SearchState
from optimizer.search.strategies import STRATEGIES, Levels, named
from optimizer.search.strategies.arena import swapped
from optimizer.search.strategies.posterior_search import RATED, mean_ratings
from optimizer.stages.allocation.module_scores import ModuleRatings, rate_module, rate_modules
from optimizer.stages.allocation.turn_scores import mixed_scores, turn_scores
from search_spaces import PipelineConfig

Choices = Mapping[str, Sequence[str]]
"""By module, the labels of the models that it may have; the present one comes first."""


@dataclass(frozen=True)
class Allocation:
    """The stage that chooses a model for every module.

    `Allocation("halving")` names the strategy: "default", "llmselector", "halving", "exhaustive",
    "random" or "tpe".

    Raises:
        ValueError: there is no such strategy; names the nearest.
    """

    strategy: str = "default"
    name: str = "allocation"

    def __post_init__(self) -> None:
        named(str(self.strategy), STRATEGIES)  # none of the user's own: only tables take these

    def improve(self, state: SearchState) -> None:
        """Search the allocations, unless nothing has changed since they were searched last."""
        if state.incumbent == state.settled.get(self.name):
            return
        if mixed := mixed_scores(state):
            state.note_module_scores(mixed)
        choices = _choices(state, state.settled.get(self.name))
        if any(len(labels) > 1 for labels in choices.values()):
            _Search(state, self, choices).run()
        state.settled[self.name] = state.incumbent


@dataclass
class _Search:
    """One search over allocations."""

    state: SearchState
    stage: Allocation
    choices: Choices
    rated: dict[str, ModuleRatings] = field(default_factory=dict)
    """The diagnoser's ratings, by module."""

    def run(self) -> None:
        """Rate modules, then run allocations; module scores are noted however it ends."""
        state, before = self.state, self.state.incumbent
        arena = None
        try:
            if state.diagnoser is not None and self.stage.strategy == "default":
                self._rate_modules()
            arena = self._arena()
            chosen = self.stage.strategy  # the default one depends on the objective
            state.explore(
                self.stage.name, arena, None if chosen == "default" else STRATEGIES[chosen]
            )
        finally:
            scores = turn_scores(state, before, self.choices, self.rated, arena)
            state.note_module_scores(scores)

    def _rate_modules(self) -> None:
        state = self.state
        try:
            for rated in rate_modules(state, self.choices):
                self.rated[rated.module] = rated
        finally:
            for rated in self.rated.values():
                state.note_probes(rated.probes(state, self.stage.name))

    def _arena(self) -> ConfigArena:
        state = self.state
        arena = ConfigArena(
            state.evaluator,
            state.forecast,
            state.examples,
            partial(_config_of, state.incumbent, self.choices),
            searched_models=state.searched_models,
            choices=[len(labels) for labels in self.choices.values()],
            start=(0,) * len(self.choices),
            left=state.forecast.calls_left(),
            rate=self._ratings_of if state.diagnoser and not self.rated else None,
            ratings=self._mean_ratings(),
            seed=state.seed,
        )
        if state.searched_models:  # else none with a new model may be drawn
            arena.add(
                swapped(arena.origin, module, level)
                for module, labels in enumerate(self.choices.values())
                for level, label in enumerate(labels)
                if label not in state.searched_models
            )
        arena.take_in()
        return arena

    def _mean_ratings(self) -> list[Floats] | None:
        if not self.rated:
            return None
        few = self.state.examples[:RATED]
        return [
            mean_ratings(self.rated.get(module, ModuleRatings(module)).table(labels, few))
            for module, labels in self.choices.items()
        ]

    def _ratings_of(self, number: int, levels: Levels, examples: int) -> Floats:
        """The ratings that LLMSelector asks for: all models of a module, on the first examples."""
        module, labels = list(self.choices.items())[number]
        config = _config_of(self.state.incumbent, self.choices, levels)
        few = self.state.examples[:examples]
        if module not in config.modules:  # what an aggregator asks is not rated
            return np.full((len(labels), len(few)), np.nan)
        self.rated[module] = rate_module(self.state, config, module, labels, few)
        return self.rated[module].table(labels, few)


def _config_of(base: PipelineConfig, choices: Choices, levels: Levels) -> PipelineConfig:
    """The base with the chosen models; level 0 keeps what a module has."""
    changed = {
        module: labels[level]
        for (module, labels), level in zip(choices.items(), levels, strict=True)
        if level
    }
    return base.with_models(changed)


def _choices(state: SearchState, settled: PipelineConfig | None) -> Choices:
    """The models to choose from, of modules that have changed since models were last chosen.

    The models that aggregators ask are chosen, too.
    """
    incumbent, has = state.incumbent, state.incumbent.allocation
    then = settled.modules if settled else {}
    labels = {m: own for m, own in state.uniform.items() if incumbent.modules[m] != then.get(m)}
    if labels:
        roles = (path for path in has if path not in incumbent.modules)
        labels |= {path: state.space.models[incumbent.place(path)[0]] for path in roles}
    return {m: list(dict.fromkeys([has[m][0], *own])) for m, own in labels.items()}
