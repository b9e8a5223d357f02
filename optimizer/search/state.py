"""The state of one search: what was tried, who leads, and what may still be spent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluators.diagnosis.diagnoser import Diagnoser
from evaluators.evaluator import Evaluator
from evaluators.metrics.judge_agreement import JudgeAgreement
from evaluators.objective import QUALITY, Costs, Objective, front
from evaluators.outcome import Evaluation
from evaluators.racing.posterior import Floats
from optimizer.search.budget.forecast import Forecast
from optimizer.search.budget.reserve import Reserve
from optimizer.search.config_arena import ConfigArena, arena_of
from optimizer.search.leading.earning import earns_place
from optimizer.search.records.config_changes import changed_text
from optimizer.search.records.judgements import Judgements
from optimizer.search.records.module_score import ModuleScore
from optimizer.search.records.probe import Probe
from optimizer.search.records.trial import Status, Trial, shortened
from optimizer.search.strategies import Strategy
from optimizer.search.strategies.posterior_search import PosteriorSearch
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.model import Model
from search_spaces import PipelineConfig, SearchSpace

if TYPE_CHECKING:
    from optimizer.stages.structure.proposals import Proposer

MOST_POINTS = 8
"""So many configs of a front are scored on the holdout."""
MOST_OBSERVERS = 100
"""So many earlier configs inform a race."""


@dataclass
class SearchState:
    """One search over one pipeline. Sequential: concurrency lives inside the evaluator."""

    evaluator: Evaluator
    space: SearchSpace
    examples: Sequence[int]
    """Indices of the search examples, in the order in which races use them."""
    reserve: Reserve
    baseline: PipelineConfig
    objective: Objective = QUALITY
    seed: int = 0
    journal: Path | None = None
    """Where Optuna's state is kept; None keeps it in memory."""
    diagnoser: Diagnoser | None = None
    judge: JudgeAgreement | None = None
    """What is known of the metric's judge, if it asks one."""
    on_trial: Callable[[Trial, SearchState], None] = lambda trial, state: None
    on_module_scores: Callable[[Sequence[ModuleScore]], None] = lambda scores: None
    turn: int = 0
    """The round of the loop, from 1; 0 before it."""
    incumbent: PipelineConfig = field(init=False)
    single_model: PipelineConfig | None = None
    """The best config with one model in all modules, once they were raced."""
    singles: dict[str, PipelineConfig] = field(default_factory=dict)
    """By label, the configs with that model in all modules."""
    trials: list[Trial] = field(default_factory=list)
    module_scores: list[ModuleScore] = field(default_factory=list)
    """Of every turn, one per module and model."""
    probes: list[Probe] = field(default_factory=list)
    settled: dict[str, PipelineConfig] = field(default_factory=dict)
    """Where a stage that leaves nothing open came to rest last, by its name."""
    compared: set[tuple[str, str]] = field(default_factory=set)
    """Modules whose listed networks were compared, with the key of the config around them."""
    proposer: Proposer | None = None
    """Optuna's state, once the structure stage has begun one."""
    instructed: set[tuple[str, str]] = field(default_factory=set)
    """Modules whose listed instructions were compared, with the key of the config around them."""
    prompted: list[tuple[str, str, str, int]] = field(default_factory=list)
    """Prompt optimizers that were asked: the config's key, the module, who, and which attempt."""
    judgements: Judgements = field(default_factory=Judgements)
    verdicts: dict[str, bool] = field(default_factory=dict)
    """What verifiers said when they were tried, by verifier and answer."""
    forecast: Forecast = field(init=False)
    cut_short: str | None = None
    """What the budget had no room for, of a race that went on with what it had."""
    estimates: dict[str, float] = field(default_factory=dict)
    """By config key, the posterior mean of the last race that it was in."""
    _recorded: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.incumbent = self.baseline
        self.forecast = Forecast(self.evaluator, self.baseline, self.singles)

    def race(
        self, stage: str, configs: Sequence[PipelineConfig], *, after: PipelineConfig | None = None
    ) -> None:
        """Let configs meet the incumbent, record each as a trial, and let the best lead.

        Runs go to those from which they are expected to gain most, until that is too little; then
        the best runs on all search examples, and leads if it earns its place.

        Args:
            stage: as the trials are tagged.
            configs: the entrants; equal ones race once.
            after: which config's runs they departed from; the incumbent by default.

        Raises:
            BudgetExhausted: the race was cut off; what it had found by then is taken.
        """
        in_place = self.incumbent if self._is_complete(self.incumbent) else None
        others = [*self._observers(), *([in_place] if in_place else [])]
        arena = arena_of(
            self.evaluator, self.forecast, self.examples, configs, others, in_place, self.seed
        )
        self.explore(stage, arena, after=after)

    def look(self, stage: str, configs: Sequence[PipelineConfig], size: int) -> None:
        """Run configs on so many of the search examples, the first ones, and record each.

        Raises:
            BudgetExhausted: they can't be paid.
        """
        base = self.last_trial(self.incumbent)
        cut_off = self._run(list(product(configs, self.examples[:size])))
        self.record(stage, configs, base, cut_off)
        if cut_off is not None:
            raise cut_off

    def finish(self, config: PipelineConfig) -> None:
        """Run a config on all search examples that it has not seen.

        Raises:
            BudgetExhausted: they can't be paid.
        """
        cut_off = self._run([(config, index) for index in self.examples])
        if cut_off is not None:
            raise cut_off

    def explore(
        self,
        stage: str,
        arena: ConfigArena,
        strategy: Strategy | None = None,
        after: PipelineConfig | None = None,
    ) -> None:
        """Let a strategy run the candidates of an arena; the best leads if it earns its place.

        Args:
            stage: as the trials are tagged.
            arena: whose start, if it has one, is the incumbent.
            strategy: by default the one that goes by the posterior and by the objective.
            after: as of `race`.

        Raises:
            BudgetExhausted: the budget ended it; what was found by then is taken.
        """
        base = self.last_trial(after or self.incumbent)
        ran: dict[str, PipelineConfig] = {}
        cut_off = None
        for batch in (strategy or self._strategy(arena)).runs(arena):
            configs = arena.configs
            runs = [(configs[candidate], self.examples[place]) for candidate, place in batch]
            ran.update((config.key, config) for config, _ in runs)
            cut_off = self._run(runs)
            if self.objective.pareto:  # what is on the front is to be paid for on the holdout
                known = self.evaluator.known
                done = [c for c in ran.values() if self._has_seen_all(c, known(c))]
                self.record(stage, done, base)
            arena.take_in()
            if cut_off is not None:
                break
        if cut_off is None and arena.cut_short:
            self.cut_short = f"{arena.left:.0f} more calls could be paid for, and more were wanted"
        self._lead(arena)
        entrants = [
            c for c, enters in zip(arena.configs, arena.field.entrants, strict=True) if enters
        ]
        seen = [*ran.values(), *entrants]  # some of which may have been run before, for free
        self.record(stage, seen, base, cut_off or arena.cut_short, arena)
        if cut_off is not None:
            raise cut_off

    def _run(self, runs: Sequence[tuple[PipelineConfig, int]]) -> BudgetExhausted | None:
        """Make runs, where the nominal budget has room for all of them.

        Returns:
            Why they could not all be made, if so.
        """
        try:
            self.forecast.check(runs)
            self.evaluator.run(runs)
        except BudgetExhausted as exhausted:
            return exhausted
        return None

    def _strategy(self, arena: ConfigArena) -> Strategy:
        """The default one, for the objective."""
        finish = MOST_POINTS if self.objective.pareto else 1

        def wanted(means: Floats) -> list[int]:
            configs = arena.configs
            ranked = arena.preference(self.objective, self.baseline).wanted(means)
            return [candidate for candidate in ranked if self.may_lead(configs[candidate])]

        return PosteriorSearch(
            value=lambda means: arena.preference(self.objective, self.baseline).value(means),
            wanted=wanted,
            finish=finish,
        )

    def _observers(self) -> list[PipelineConfig]:
        """Configs whose scores inform about others: the given one, single models, the last ones."""
        raced = self.raced()
        singles = [config for config in self.singles.values() if config in raced]
        return [self.baseline, *singles, *raced[-MOST_OBSERVERS:]]

    def record(
        self,
        stage: str,
        configs: Sequence[PipelineConfig],
        base: Trial | None,
        cut_off: BudgetExhausted | bool | None = None,
        arena: ConfigArena | None = None,
    ) -> None:
        """Record as trials the configs of which more is known than before."""
        for config in {config.key: config for config in configs}.values():
            known = self.evaluator.known(config)
            if len(known.outcomes) <= self._recorded.get(config.key, 0):
                continue
            self._recorded[config.key] = len(known.outcomes)
            status = self._status(config, known, bool(cut_off), arena)
            detail = "; ".join(filter(None, (_outages(known), _first_failure(known))))
            self._note(stage, config, known, status, detail, base)
        if self.objective.pareto:
            self.protect_holdout()

    def _status(
        self,
        config: PipelineConfig,
        known: Evaluation,
        cut_off: bool,
        arena: ConfigArena | None,
    ) -> Status:
        if known.disqualified:
            return "disqualified"
        if self._has_seen_all(config, known):
            return "complete"
        if cut_off:
            return "cut_off"
        return "promoted" if arena is None else "stopped_early"

    def note_failed(self, stage: str, detail: str) -> None:
        """Record that something failed before there was a config to run; the search goes on."""
        base = self.last_trial(self.incumbent)
        self._note(stage, self.incumbent, Evaluation({}), "failed", detail, base)

    def last_trial(self, config: PipelineConfig) -> Trial | None:
        """The config's last trial that ran; None if it has had none."""
        ran = (trial for trial in reversed(self.trials) if trial.status != "failed")
        return next((trial for trial in ran if trial.config.key == config.key), None)

    def note_module_scores(self, scores: Sequence[ModuleScore]) -> None:
        """Keep what a turn found out, in place of what it had found out before."""
        fresh = {(score.turn, score.module, score.model) for score in scores}
        kept = (s for s in self.module_scores if (s.turn, s.module, s.model) not in fresh)
        self.module_scores = [*kept, *scores]
        self.on_module_scores(scores)

    def note_probes(self, probes: Iterable[Probe]) -> None:
        """List runs that were no trials; one that repeats an earlier one from the cache is left
        out."""
        known = {probe.findings for probe in self.probes}
        self.probes += [probe for probe in probes if probe.findings not in known]

    def desired(self, index: int) -> dict[str, Any]:
        """What the diagnoser may know of the right answer: the metric's feedback, and labels."""
        outcome = self.evaluator.known(self.incumbent).outcomes.get(index)
        feedback = {"feedback": outcome.feedback} if outcome and outcome.feedback else {}
        return {**feedback, **self.evaluator.labels(index)}

    def enumerate_paid(self, configs: Sequence[PipelineConfig], size: int) -> list[PipelineConfig]:
        """Those whose calls on these examples were all made before, best mean first.

        Args:
            size: on how many of the search examples.
        """
        examples = self.examples[:size]
        free = [config for config in configs if self.forecast.are_free(config, examples)]
        self.evaluator.run(list(product(free, examples)))
        means = {config.key: self.evaluator.known(config).on(examples).mean for config in free}
        return sorted(free, key=lambda config: -np.nan_to_num(means[config.key], nan=-1.0))

    def best(
        self, configs: Sequence[PipelineConfig], beside: Sequence[PipelineConfig] = ()
    ) -> PipelineConfig | None:
        """What the objective prefers by the estimates on the configs' common examples.

        None when there are no common examples with a score.

        Args:
            beside: who ties must also tie with the best of these that have seen the examples.
                Else a row of ties, each to something cheaper, would lead downhill.
        """
        known = {c.key: self.evaluator.known(c) for c in configs}
        common = set.intersection(*(set(e.scores) for e in known.values())) if known else set()
        if not common:
            return None
        costs = [self._costs(known[c.key], common) for c in configs]
        others = (self.evaluator.known(c) for c in beside)
        bars = [self._costs(e, common) for e in others if common <= set(e.scores)]
        bar = max((c.score for c in bars if self.objective.meets(c)), default=-math.inf)
        return self.objective.choose(configs, costs, bar, self._best_single(common))

    def choose_single_model(self) -> None:
        """Take the single model with the best estimate, of those that could lead.

        Those that meet the limits come first.
        """
        scored = [c for c in self.singles.values() if self.evaluator.known(c).scores]
        able = [config for config in scored if self.may_lead(config)] or scored
        fit = [c for c in able if self.objective.meets(self.evaluator.known(c).costs)] or able
        self.single_model = max(fit, key=self.estimate, default=None)

    def estimate(self, config: PipelineConfig) -> float:
        """The posterior mean of the last race that the config was in; else its mean score."""
        known = self.evaluator.known(config)
        return self.estimates.get(config.key, known.mean if known.scores else 0.0)

    def needs_comparison(self, single: PipelineConfig) -> bool:
        """Whether a single model that was not run on all examples is to be preferred otherwise.

        That is where it meets limits that what leads misses, or where what leads is dearer.
        """
        known, leads = self.evaluator.known(single), self.evaluator.known(self.incumbent)
        if self.objective.within is not None or self._has_seen_all(single, known):
            return False
        if not self.objective.meets(leads.costs):
            return self.objective.meets(known.costs)
        dearer = known.usd_per_example < leads.usd_per_example
        return dearer and self.incumbent != self.baseline

    def _best_single(self, common: set[int]) -> float | None:
        """The best single model's mean on these examples, of those that have seen them."""
        known = (self.evaluator.known(c) for c in self.raced() if c.single_model)
        return max((_mean_on(e, common) for e in known if common <= set(e.scores)), default=None)

    def reference(self, examples: Collection[int]) -> float:
        """The score on these examples that the cheapest is to come close to.

        That of the best that was run on all search examples; minus infinity if there is none.
        """
        known = [self.evaluator.known(config) for config in self._bar_setters()]
        return max((each.on(examples).mean for each in known), default=-math.inf)

    def bar(self) -> PipelineConfig:
        """The config that the cheapest is to come close to; the incumbent until there is one."""
        setters = self._bar_setters() or [self.incumbent]
        return max(setters, key=lambda config: self.evaluator.known(config).mean)

    def _bar_setters(self) -> list[PipelineConfig]:
        complete = [config for config in self.raced() if self._is_complete(config)]
        if self.objective.of == "single_model":
            return [config for config in complete if config.single_model]
        return [c for c in complete if self.objective.meets(self.evaluator.known(c).costs)]

    def front(self) -> list[PipelineConfig]:
        """Of all that were scored on every search example, those that no other beats in all.

        What fails on all of them costs little, and is none of them.
        """
        known = self.evaluator.known
        complete = [c for c in self.raced() if self._is_complete(c) and known(c).works]
        costs = [known(c).costs for c in complete]
        return [complete[place] for place in front(costs)]

    def operating_points(self) -> list[PipelineConfig]:
        """Of the front, where it was asked for, so many as the holdout has room for: its ends, and
        some between."""
        found = self.front() if self.objective.pareto else []
        ranked = sorted(found, key=lambda config: self.evaluator.known(config).usd_per_example)
        if len(ranked) <= MOST_POINTS:
            return ranked
        places = np.linspace(0, len(ranked) - 1, MOST_POINTS).round().astype(int)
        return [ranked[place] for place in places]

    @property
    def rater(self) -> str | None:
        """Label of the diagnoser's model; None without a diagnoser."""
        return self.diagnoser.model.label if self.diagnoser else None

    @property
    def ablest_model(self) -> Model:
        """The one that does best alone, as far as is known: the ablest on this very task."""
        best = self.single_model or self.incumbent
        return self.evaluator.models[next(iter(best.allocation.values()))[0]]

    @property
    def uniform(self) -> dict[str, tuple[str, ...]]:
        """The labels to choose from by module, of those whose members all ask one model.

        Members that differ stay as they are when models are allocated: which ones go together is
        for the structure to say.
        """
        modules = self.incumbent.modules
        choices = self.space.models.items()
        return {m: labels for m, labels in choices if len(set(modules[m].labels)) == 1}

    def seen(self, config: PipelineConfig) -> int:
        """How many of the search examples, from the first on, the config was run on."""
        known = self.evaluator.known(config).outcomes
        return next((n for n, i in enumerate(self.examples) if i not in known), len(self.examples))

    def _is_complete(self, config: PipelineConfig) -> bool:
        known = self.evaluator.known(config)
        return self._has_seen_all(config, known) and not known.disqualified

    def _has_seen_all(self, config: PipelineConfig, known: Evaluation) -> bool:
        """All of the search examples but those that its own demos were made from."""
        return len(known.outcomes) >= len(self.examples) - len(self.evaluator.shown_in(config))

    def _costs(self, evaluation: Evaluation, common: set[int]) -> Costs:
        """The score on common examples; dollars and seconds on all there are."""
        costs = evaluation.costs
        return costs._replace(score=_mean_on(evaluation, common))

    def protect_holdout(self) -> None:
        """Keep back what the final pass over the holdout may take.

        Until there is a best single model, it is taken to cost as much as the incumbent.
        """
        finalists = (self.baseline, self.incumbent)
        points = [config for config in self.operating_points() if config not in finalists]
        self.reserve.keep(self.incumbent, [self.single_model or self.incumbent, *points])

    def _lead(self, arena: ConfigArena) -> None:
        """Let the most preferred candidate lead that has earned its place, or the incumbent stay.

        Only those that were run on all search examples can.
        """
        configs, preference = arena.configs, arena.preference(self.objective, self.baseline)
        posterior = arena.posterior
        places = {config.key: place for place, config in enumerate(configs)}
        complete = [self._is_complete(c) and self.may_lead(c) for c in configs]
        works = [self.evaluator.known(config).works for config in configs]
        if any(c and w for c, w in zip(complete, works, strict=True)):
            complete = [c and w for c, w in zip(complete, works, strict=True)]
        rivals = int(arena.field.ran.any(axis=1).sum())
        kept = self._protected(arena, [place for place, whole in enumerate(complete) if whole])
        for place in preference.ranked(posterior.mean):
            if complete[place] and all(
                earns_place(posterior, place, other, rivals)
                for other, dearer_only in kept
                if not dearer_only or preference.usd[place] > preference.usd[other]
            ):
                winner = configs[place]
                break
        else:
            winner = self.incumbent
        self.estimates.update({key: float(posterior.mean[place]) for key, place in places.items()})
        if winner != self.incumbent:
            self.incumbent = winner
            self.protect_holdout()

    def prefer_equal(self, config: PipelineConfig) -> None:
        """Let a config lead that has the incumbent's score on every example, and costs no more."""
        known, leads = self.evaluator.known(config), self.evaluator.known(self.incumbent)
        dearer = known.usd_per_example > leads.usd_per_example
        if known.scores == leads.scores and self._is_complete(config) and not dearer:
            self.incumbent = config
            self.protect_holdout()

    def _protected(self, arena: ConfigArena, complete: Sequence[int]) -> list[tuple[int, bool]]:
        """Candidates that keep their place against what is not shown to be better.

        Those are the config as given, and against anything dearer the best single model and what
        leads; but not where they miss the limits, or where the cheapest is sought.

        Returns:
            Their places, and whether it is against dearer ones only.
        """
        if self.objective.within is not None:
            return []
        configs, means = arena.configs, arena.posterior.mean
        fit = [c for c in complete if self.objective.meets(self.evaluator.known(configs[c]).costs)]
        given = [(c, False) for c in fit if configs[c] == self.baseline]
        singles = [c for c in fit if configs[c].single_model]
        best = sorted(singles, key=lambda c: -means[c])[:1]
        leads = [c for c in fit if configs[c] == self.incumbent]
        return [*given, *((c, True) for c in [*best, *leads])]

    def may_lead(self, config: PipelineConfig) -> bool:
        """Whether its mean is its own, and the final pass stays affordable with it."""
        return not self.evaluator.known(config).disqualified and self.reserve.allows(config)

    def raced(self) -> list[PipelineConfig]:
        """Every config that was a trial, in the order of their first."""
        return list({trial.config.key: trial.config for trial in self.trials}.values())

    def _note(
        self,
        stage: str,
        config: PipelineConfig,
        evaluation: Evaluation,
        status: Status,
        detail: str,
        base: Trial | None,
    ) -> None:
        nominal = self.evaluator.session.nominal
        trial = Trial(
            number=len(self.trials),
            stage=stage,
            turn=self.turn,
            base=base.number if base else None,
            changed=changed_text(base.config, config) if base else "",
            config=config,
            status=status,
            score=evaluation.interval,
            examples=len(evaluation.scores),
            failures=evaluation.failures,
            unscored=evaluation.unscored,
            usd_per_example=evaluation.usd_per_example,
            latency_s=evaluation.latency_s,
            latency_p95_s=evaluation.latency_p95_s,
            calls_per_example=evaluation.calls_per_example,
            nominal_usd=nominal.usd,
            nominal_calls=nominal.calls,
            seconds=self.evaluator.session.seconds,
            detail=detail,
            members_failed=evaluation.members_failed,
            agreement=evaluation.agreement,
            usd_by_module=evaluation.usd_by_module,
            seconds_by_module=evaluation.seconds_by_module,
        )
        self.trials.append(trial)
        self.on_trial(trial, self)


def _mean_on(evaluation: Evaluation, common: set[int]) -> float:
    return float(np.mean([evaluation.scores[i] for i in common])) if common else 0.0


def _outages(evaluation: Evaluation) -> str:
    """Why a disqualified config is; empty for others."""
    if not evaluation.disqualified:
        return ""
    outcomes = evaluation.outcomes.values()
    failures = [f for o in outcomes for f in ([o.failure] if o.failure else o.members_failed)]
    kinds = Counter(failure.kind for failure in failures if failure.infrastructure)
    told = ", ".join(f"{kind} x{count}" for kind, count in sorted(kinds.items()))
    return f"disqualified: outages hit {evaluation.hit} of {len(outcomes)} examples ({told})"


def _first_failure(evaluation: Evaluation) -> str:
    failures = [o.failure for o in evaluation.outcomes.values() if o.failure]
    if not failures:
        return ""
    return shortened(" ".join(f"{failures[0].module}: {failures[0].message}".split()), 500)
