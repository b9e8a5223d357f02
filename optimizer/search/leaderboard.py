"""Which config leads a search, and its rivals: single models, the front, the bar."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evaluators.objective import QUALITY, Objective, front
from evaluators.racing.posterior import Design, Posterior
from optimizer.search.budget.reserve import Reserve
from optimizer.search.config_arena import ConfigArena
from optimizer.search.leading.earning import EQUAL, SURE, Protected, leader
from optimizer.search.records.search_log import SearchLog
from search_spaces import PipelineConfig

MOST_POINTS = 8
"""How many configs of a front are scored on the holdout at most."""


@dataclass(kw_only=True)
class Leaderboard(SearchLog):
    """The incumbent of one search, and the configs that it is compared with."""

    reserve: Reserve
    objective: Objective = QUALITY
    incumbent: PipelineConfig = field(init=False)
    single_model: PipelineConfig | None = None
    """The best config with one model in all modules, once they were raced."""
    singles: dict[str, PipelineConfig] = field(default_factory=dict)
    """By label, the configs with that model in all modules."""
    estimates: dict[str, float] = field(default_factory=dict)
    """By config key, the posterior mean of the last race that it was in."""
    passed_over: dict[str, str] = field(default_factory=dict)
    """By config key, why it did not lead after the last race that it was complete in."""
    cut_short: str | None = None
    """What the budget had no room for since the incumbent took the lead; None if nothing."""
    waited_s: float = 0.0
    """Seconds by the clock of the batches of runs in which calls were paid; each batch weighs half
    as much as the next."""
    paid_calls: float = 0.0
    """The paid calls of these batches, weighed likewise."""

    def __post_init__(self) -> None:
        self.incumbent = self.baseline

    def may_lead(self, config: PipelineConfig) -> bool:
        """Whether outages did not disqualify it, and the final pass stays affordable with it."""
        return not self.evaluator.known(config).disqualified and self.reserve.allows(config)

    def lead(self, arena: ConfigArena) -> None:
        """Let the most preferred candidate that earns its place lead; else the incumbent stays.

        Only candidates that were run on all search examples can lead.
        """
        configs, means, able = arena.configs, arena.posterior.mean, self._able(arena)
        ranked = arena.preference(self.objective, self.baseline).ranked(means)
        leading = partial(leader, arena.posterior, arena.field, protected=self.protected(arena))
        found = leading([place for place in ranked if able[place]])
        whole = [place for place in ranked if self.is_complete(configs[place])]
        ahead = whole if found is None else whole[: whole.index(found)]
        for place in whole:
            if place not in ahead:
                reason = "less wanted than what led its last race"
            elif leading([place]) is None:
                reason = f"not better with a probability of {SURE:.0%}"
            else:
                reason = "too expensive for what was left for the holdout"
            self.passed_over[configs[place].key] = reason
        keys = (config.key for config in configs)
        self.estimates.update(zip(keys, means.tolist(), strict=True))
        if found is not None and configs[found] != self.incumbent:
            self.cut_short = None  # the stages search again from here
            self._take(configs[found])

    def protected(self, arena: ConfigArena) -> list[Protected]:
        """Candidates that keep their place unless a challenger is shown to be better.

        Those are the config as given, and against anything more expensive the best single model
        and the incumbent, unless these miss the limits. If the config as given misses them, it
        gives way to configs that come closer. Nothing is protected where the cheapest is sought.
        """
        if self.objective.within is not None:
            return []
        known, configs = self.evaluator.known, arena.configs
        able = [int(place) for place in np.flatnonzero(self._able(arena))]
        fit = [place for place in able if self.objective.meets(known(configs[place]).costs)]
        singles = [place for place in fit if configs[place].single_model]
        best = sorted(singles, key=lambda place: -arena.posterior.mean[place])[:1]
        leads = [place for place in fit if configs[place] == self.incumbent]
        given = [place for place in able if configs[place] == self.baseline]
        preference = arena.preference(self.objective, self.baseline)
        usd, over = preference.usd, np.maximum(1.0, preference.excess)
        return [
            *(Protected(place, usd > usd[place]) for place in best + leads),
            *(Protected(place, over >= over[place]) for place in given),
        ]

    def _able(self, arena: ConfigArena) -> NDArray[np.bool_]:
        """The candidates that could lead: none that always fails, unless all of them do."""
        complete = np.array([self.is_complete(c) and self.may_lead(c) for c in arena.configs])
        works = complete & [self.evaluator.known(config).works for config in arena.configs]
        return works if works.any() else complete

    def prefer_equal(self, config: PipelineConfig) -> None:
        """Let a config lead that has the incumbent's score on every example, and costs no more."""
        known, leads = self.evaluator.known(config), self.evaluator.known(self.incumbent)
        costs_more = known.usd_per_example > leads.usd_per_example
        if known.scores == leads.scores and self.is_complete(config) and not costs_more:
            self._take(config)

    def _take(self, config: PipelineConfig) -> None:
        self.incumbent = config
        self.protect_holdout()

    def choose_single_model(self) -> None:
        """Take the best single model, of those that could lead; those within limits come first.

        One that was run on all examples stays, unless another one is shown to be better.
        """
        ranked = self.ranked_singles()
        if not ranked:
            return
        better = self._alone(ranked).probability_better
        whole = next((place for place, one in enumerate(ranked) if self.is_complete(one)), 0)
        surer = (place for place in range(whole) if better(place, whole) >= SURE)
        self.single_model = ranked[next(surer, whole)]

    def ranked_singles(self) -> list[PipelineConfig]:
        """The single models by their own scores, equal ones by price.

        Scores of mixes do not make up for a model that was never right by itself.
        """
        known = self.evaluator.known
        scored = [config for config in self.singles.values() if known(config).scores]
        able = [config for config in scored if self.may_lead(config)] or scored
        fit = [config for config in able if self.objective.meets(known(config).costs)] or able
        if not fit:
            return []
        means = self._alone(fit).mean
        usd = [known(config).usd_per_example for config in fit]
        bands = np.floor((means.max() - means) / EQUAL + 1e-9)
        return [fit[place] for place in np.lexsort((usd, bands))]

    def _alone(self, configs: Sequence[PipelineConfig]) -> Posterior:
        """The posterior of these configs by their own scores, with nothing shared among them."""
        known = [self.evaluator.known(config).scores for config in configs]
        scores = np.array([[own.get(i, np.nan) for i in self.examples] for own in known])
        design = Design(np.empty((len(configs), 0), dtype=np.int64), np.eye(len(configs)))
        return Posterior.fit(scores, design)

    def estimate(self, config: PipelineConfig) -> float:
        """The posterior mean of the config's last race; its own mean if it was in none."""
        return self.estimates.get(config.key, self.evaluator.known(config).mean)

    def unproven(self) -> list[PipelineConfig]:
        """Configs within the limits that look better than the incumbent, best estimate first.

        Their estimates are above the incumbent's, and so are their scores on the same examples, but
        they did not earn its place. Configs that saw less than a quarter of the examples are left
        out; where the cheapest or a front is sought, the list is empty.
        """
        if self.objective.within is not None or self.objective.pareto:
            return []
        known, leads = self.evaluator.known, self.evaluator.known(self.incumbent)
        bar = self.estimate(self.incumbent) + EQUAL
        above = [
            config
            for config in self.raced()
            if self.estimates.get(config.key, -math.inf) > bar
            and known(config).mean > leads.on(known(config).outcomes).mean
        ]
        few = len(self.examples) / 4
        fit = [c for c in above if self.objective.meets(known(c).costs) and self.seen(c) >= few]
        return sorted(fit, key=lambda config: -self.estimates[config.key])

    def protect_holdout(self) -> None:
        """Reserve what the final pass over the holdout may take."""
        pace = self.waited_s / max(1.0, self.paid_calls)
        self.reserve.keep(self.incumbent, self.other_finalists(), pace)

    def other_finalists(self) -> list[PipelineConfig]:
        """Configs scored on the holdout besides baseline and incumbent, if they can be paid.

        The best single model comes first, if there is one yet.
        """
        singles = [self.single_model] if self.single_model else []
        finalists = (self.baseline, self.incumbent, *singles)
        points = [config for config in self.operating_points() if config not in finalists]
        return [*singles, *points]

    def reference(self, examples: Collection[int]) -> float:
        """The score on these examples that the cheapest config must come close to.

        It is that of the best config with all search examples; minus infinity if there is none.
        """
        known = [self.evaluator.known(config) for config in self._bar_setters()]
        return max((each.on(examples).mean for each in known), default=-math.inf)

    def bar(self) -> PipelineConfig:
        """The config that the cheapest must come close to; the incumbent until there is one."""
        setters = self._bar_setters() or [self.incumbent]
        return max(setters, key=lambda config: self.evaluator.known(config).mean)

    def _bar_setters(self) -> list[PipelineConfig]:
        complete = [config for config in self.raced() if self.is_complete(config)]
        if self.objective.of == "single_model":
            return [config for config in complete if config.single_model]
        return [c for c in complete if self.objective.meets(self.evaluator.known(c).costs)]

    def front(self) -> list[PipelineConfig]:
        """The configs with all search examples that no other beats in score, cost and latency.

        Configs that fail on every example are left out, although they cost little.
        """
        known = self.evaluator.known
        complete = [c for c in self.raced() if self.is_complete(c) and known(c).works]
        return [complete[place] for place in front([known(c).costs for c in complete])]

    def operating_points(self) -> list[PipelineConfig]:
        """The ends of the front and some configs in between; empty if no front is sought."""
        found = self.front() if self.objective.pareto else []
        ranked = sorted(found, key=lambda config: self.evaluator.known(config).usd_per_example)
        if len(ranked) <= MOST_POINTS:
            return ranked
        places = np.linspace(0, len(ranked) - 1, MOST_POINTS).round().astype(int)
        return [ranked[place] for place in places]
