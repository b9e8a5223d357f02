"""Races of configs against the incumbent, recorded as trials."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, product

from evaluators.outcome import Evaluation
from evaluators.racing.field import Run
from evaluators.racing.posterior import Floats
from optimizer.search.budget.forecast import Forecast
from optimizer.search.config_arena import ConfigArena, arena_of
from optimizer.search.leaderboard import MOST_POINTS, Leaderboard
from optimizer.search.records.trial import Status, Trial
from optimizer.search.strategies import Strategy
from optimizer.search.strategies.posterior_search import RATED, PosteriorSearch
from pipelines.gateway.call import BudgetExhausted
from search_spaces import PipelineConfig

NEW_RUNS = 16
"""On how many examples a new model is run in each module by itself, where others were searched."""
MOST_OBSERVERS = 100
"""How many earlier configs, the latest ones, inform a race besides the config as given and the
single models."""


@dataclass(kw_only=True)
class RacingState(Leaderboard):
    """The part of a search's state that races configs against the incumbent."""

    seed: int = 0
    forecast: Forecast = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.forecast = Forecast(self.evaluator, self.baseline, self.singles)

    def race(
        self, stage: str, configs: Sequence[PipelineConfig], *, after: PipelineConfig | None = None
    ) -> None:
        """Race configs against the incumbent, record each as a trial, and let the best lead.

        Runs go to the configs from which they are expected to gain most, until that is too little;
        then the best runs on all search examples, and leads if it earns its place.

        Args:
            stage: the trials' tag.
            configs: the entrants; equal ones race once.
            after: the config that they departed from; the incumbent by default.

        Raises:
            BudgetExhausted: the race was cut off; its findings so far are used.
        """
        in_place = self.incumbent if self.is_complete(self.incumbent) else None
        raced = self.raced()
        singles = [config for config in self.singles.values() if config in raced]
        others = [self.baseline, *singles, *raced[-MOST_OBSERVERS:]]
        others += [in_place] if in_place else []
        arena = arena_of(
            self.evaluator, self.forecast, self.examples, configs, others, in_place, self.seed
        )
        self.explore(stage, arena, after=after)

    def look(self, stage: str, configs: Sequence[PipelineConfig], size: int) -> None:
        """Run configs on the first `size` search examples, and record each.

        Raises:
            BudgetExhausted: they can't be paid.
        """
        base = self.last_trial(self.incumbent)
        ended: Status = "cut_off"
        try:
            self._run(list(product(configs, self.examples[:size])))
            ended = "promoted"
        finally:
            self.record(stage, configs, base, ended)

    def finish(self, config: PipelineConfig) -> None:
        """Run a config on all search examples that it has not seen.

        Raises:
            BudgetExhausted: they can't be paid.
        """
        self._run([(config, index) for index in self.examples])

    def explore(
        self,
        stage: str,
        arena: ConfigArena,
        strategy: Strategy | None = None,
        after: PipelineConfig | None = None,
    ) -> None:
        """Let a strategy run the candidates of an arena; the best leads if it earns its place.

        Args:
            stage: the trials' tag.
            arena: its start, if it has one, is the incumbent.
            strategy: by default the one that goes by the posterior and by the objective.
            after: see `race`.

        Raises:
            BudgetExhausted: the budget ended it; its findings so far are used.
        """
        base = self.last_trial(after or self.incumbent)
        ran: dict[str, PipelineConfig] = {}
        cut_off = None
        try:
            for batch in (strategy or self._strategy(arena)).runs(arena):
                configs = arena.configs
                payable = self._payable_on_holdout(arena, batch) if self.objective.pareto else batch
                runs = [(configs[candidate], self.examples[place]) for candidate, place in payable]
                ran.update((config.key, config) for config, _ in runs)
                try:
                    self._run(runs)
                except BudgetExhausted as exhausted:
                    cut_off = exhausted
                if batch and not payable:
                    cut_off = BudgetExhausted("the holdout pass of further configs can't be paid")
                if self.objective.pareto:
                    self.record(stage, filter(self.has_seen_all, ran.values()), base, "complete")
                arena.take_in()
                if cut_off is not None:
                    break
        except BaseException:  # what ran is listed, also when ctrl-C ends the race
            self.record(stage, ran.values(), base, "cut_off")
            raise
        self.lead(arena)
        if cut_off is None and arena.cut_short:
            self.cut_short = f"more was wanted, and {self.forecast.what_is_left()}"
        entrants = compress(arena.configs, arena.field.entrants)
        ended: Status = "cut_off" if cut_off or arena.cut_short else "stopped_early"
        self.record(stage, [*ran.values(), *entrants], base, ended)  # some ran before, for free
        if cut_off is not None:
            raise cut_off

    def record(
        self, stage: str, configs: Iterable[PipelineConfig], base: Trial | None, unfinished: Status
    ) -> None:
        """Record as trials; where a front is sought, reserve what its holdout pass takes."""
        super().record(stage, configs, base, unfinished)
        if self.objective.pareto:
            self.protect_holdout()

    def _payable_on_holdout(self, arena: ConfigArena, batch: Sequence[Run]) -> Sequence[Run]:
        """The batch without runs that would complete configs too expensive for the holdout.

        These configs leave the race.
        """
        coming: list[PipelineConfig] = []
        runs = Counter(candidate for candidate, _ in batch)
        calls, usd = self.forecast.cost([(arena.configs[c], self.examples[p]) for c, p in batch])
        for candidate, count in runs.items():
            if arena.field.ran[candidate].sum() + count == arena.examples:
                finalists = [*self.other_finalists(), *coming, arena.configs[candidate]]
                if self.reserve.allows(self.incumbent, finalists, calls, usd):
                    coming.append(arena.configs[candidate])
                else:
                    arena.field.entrants[candidate] = False
        return [run for run in batch if arena.field.entrants[run[0]]]

    def _run(self, runs: Sequence[tuple[PipelineConfig, int]]) -> None:
        """Make runs, if the nominal budget has room for all of them."""
        session = self.evaluator.session
        began, paid_before = time.monotonic(), session.spent.calls
        self.forecast.check(runs)
        self.evaluator.run(runs)
        if paid := session.spent.calls - paid_before:
            self.paid_calls = self.paid_calls / 2 + paid  # the latest batches say the most
            self.waited_s = self.waited_s / 2 + time.monotonic() - began

    def is_payable(self, config: PipelineConfig) -> bool:
        """Whether it can be run on all search examples and, if it leads then, on the holdout."""
        calls, usd = self.forecast.cost([(config, index) for index in self.examples])
        return self.reserve.allows(config, calls=calls, usd=usd)

    def _strategy(self, arena: ConfigArena) -> Strategy:
        """The default one, for the objective."""

        def wanted(means: Floats) -> Iterator[int]:
            configs, kept = arena.configs, [] if self.objective.pareto else self.protected(arena)
            found = False
            for one in arena.preference(self.objective, self.baseline).wanted(means):
                better = all(
                    means[one] > means[each.candidate] for each in kept if each.against[one]
                )
                able = better and not self.evaluator.known(configs[one]).disqualified
                if configs[one] == self.incumbent or (able and self.is_payable(configs[one])):
                    found = True
                    yield one
                elif able and not found and arena.field.entrants[one]:
                    arena.cut_short = True

        swaps = 0
        if self.objective.within is not None and len(arena.choices) > 1:
            swaps = RATED  # a model that failed in all modules may still work in one
        if arena.searched_models:
            swaps = NEW_RUNS
        return PosteriorSearch(
            value=lambda means: arena.preference(self.objective, self.baseline).value(means),
            wanted=wanted,
            finish=MOST_POINTS if self.objective.pareto else 1,
            swaps=swaps,
        )

    def note_failed(self, stage: str, detail: str) -> None:
        """Record that something failed before there was a config to run; the search goes on."""
        base = self.last_trial(self.incumbent)
        self._note(stage, self.incumbent, Evaluation({}), "failed", detail, base)
