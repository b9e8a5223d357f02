"""The arena of a live search: configs as candidates, with their scores and costs so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from evaluators.evaluator import Evaluator
from evaluators.objective import Costs, Objective
from evaluators.racing.posterior import Floats
from optimizer.search.budget.forecast import Forecast
from optimizer.search.leading.preference import Preference
from optimizer.search.strategies.arena import Arena, Levels
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json


class ConfigArena(Arena):
    """Configs on the search examples."""

    def __init__(
        self,
        evaluator: Evaluator,
        forecast: Forecast,
        examples: Sequence[int],
        config_of: Callable[[Levels], PipelineConfig],
        searched_models: frozenset[str] = frozenset(),
        **arena: Any,
    ) -> None:
        """Configs of `searched_models` alone were candidates of an earlier search: none enters."""
        self.evaluator = evaluator
        self.forecast = forecast
        self.indices = examples
        self.config_of = config_of
        self.searched_models = searched_models
        self._configs: dict[Levels, PipelineConfig] = {}
        self._preference: Preference | None = None
        """That of the present candidates and costs; None until it is needed."""
        super().__init__(examples=len(examples), calls_of=self._calls_of, **arena)

    def config(self, levels: Levels) -> PipelineConfig:
        """The config that a candidate is."""
        if levels not in self._configs:
            self._configs[levels] = self.config_of(levels)
        return self._configs[levels]

    @property
    def configs(self) -> list[PipelineConfig]:
        """The configs of all candidates, in the field's order."""
        return [self.config(levels) for levels in self.places]

    def _calls_of(self, levels: Levels) -> Iterator[Hashable]:
        """The calls of its modules, and those of a judge, which no two candidates share."""
        yield from self.forecast.call_groups(self.config(levels))
        yield from ((levels, verdict) for verdict in range(self.evaluator.metric.calls))

    def take_in(self) -> None:
        """Note scores that are not in the field yet, and how many calls are left."""
        set_aside = self.evaluator.session.set_aside
        for candidate, config in enumerate(self.configs):
            known = self.evaluator.known(config)
            outcomes, shown = known.outcomes, self.evaluator.shown_in(config)
            if len(outcomes) + len(shown) > self.field.ran[candidate].sum():
                for place, index in enumerate(self.indices):
                    if index in outcomes or index in shown:
                        score = outcomes[index].score if index in outcomes else None
                        self.field.note((candidate, place), score)
            hopeless = set_aside and not set_aside.keys().isdisjoint(config.labels)
            if hopeless or (known.disqualified and known.hit > 1):
                self.field.entrants[candidate] = False
        self.left = self.forecast.calls_left()
        self._preference = None

    def preference(self, objective: Objective, given: PipelineConfig) -> Preference:
        """The objective on the candidates in the field.

        Args:
            objective: of the search.
            given: the config as given, which fewer changes are closer to.
        """
        if self._preference is None:
            singles = [config.single_model is not None for config in self.configs]
            costs = [self._costs(config) for config in self.configs]
            changes = [len(given.differences(config)) for config in self.configs]
            self._preference = Preference(objective, costs, np.array(singles), np.array(changes))
        return self._preference

    def _build(self, rows: Iterable[Levels], kept: int) -> None:
        super()._build(rows, kept)
        for candidate, config in enumerate(self.configs[kept:], start=kept):
            self.field.entrants[candidate] = not self.searched_models.issuperset(config.labels)
        self._preference = None

    def _costs(self, config: PipelineConfig) -> Costs:
        """As measured; for configs that never ran, the price of their calls and no latency."""
        known = self.evaluator.known(config)
        return known.costs if known.outcomes else Costs(0, self.forecast.usd_per_run(config), 0)


def arena_of(
    evaluator: Evaluator,
    forecast: Forecast,
    examples: Sequence[int],
    entrants: Sequence[PipelineConfig],
    others: Sequence[PipelineConfig],
    start: PipelineConfig | None,
    seed: int,
) -> ConfigArena:
    """An arena of listed configs.

    Args:
        evaluator, forecast: of the search.
        examples: indices of the search examples.
        entrants: the configs that may be run.
        others: configs whose scores inform about the entrants.
        start: the config in place, which is one of them.
        seed: of the strategy's draws.
    """
    every = list({config.key: config for config in [*entrants, *others]}.values())
    entering = {config.key for config in entrants}
    factors = config_factors(every)
    arena = ConfigArena(
        evaluator,
        forecast,
        examples,
        lambda levels: every[levels[0]],
        choices=(len(every),),
        listed=True,
        factors_of=lambda levels: factors[levels[0]],
        start=None if start is None else (every.index(start),),
        seed=seed,
    )
    arena.field.mixtures = model_mixtures(every)
    arena.field.entrants[:] = [config.key in entering for config in every]
    arena.take_in()
    return arena


def config_factors(configs: Sequence[PipelineConfig]) -> Sequence[tuple[int, ...]]:
    """For each config, the level of every knob that varies among them.

    Without the models of modules that have several at once; see `model_mixtures`.
    """
    mixed = _mixed_modules(configs)
    columns: dict[tuple[str, str], list[str]] = {}
    for row, config in enumerate(configs):
        for name, module in config.modules.items():
            for knob, value in {**module.own_knobs(), **module.params}.items():
                if knob == "models" and name in mixed:
                    continue
                column = columns.setdefault((name, knob), [""] * len(configs))
                plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
                column[row] = canonical_json(plain)
    varied = [column for column in columns.values() if len(set(column)) > 1]
    levels = [np.unique(column, return_inverse=True)[1].tolist() for column in varied]
    return list(zip(*levels, strict=True)) or [(0,)] * len(configs)


def model_mixtures(configs: Sequence[PipelineConfig]) -> tuple[Floats, ...]:
    """For each module with several models at once, configs x models: how many members have each.

    Rows have unit length, so that configs are more alike the more models they share.
    """
    mixtures = []
    for name in _mixed_modules(configs):
        counts = [Counter(config.modules[name].labels) for config in configs]
        labels = sorted(set().union(*counts))
        rows = np.array([[each[label] for label in labels] for each in counts], dtype=np.float64)
        mixtures.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return tuple(mixtures)


def _mixed_modules(configs: Sequence[PipelineConfig]) -> list[str]:
    """The modules that have several models at once in some config."""
    walked = (item for config in configs for item in config.modules.items())
    return list(dict.fromkeys(name for name, module in walked if len(set(module.labels)) > 1))
