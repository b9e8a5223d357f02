"""The state of one search: what was tried, who leads, and what may still be spent."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluators.diagnosis.diagnoser import Diagnoser
from evaluators.evaluator import Evaluator
from evaluators.metrics.judge_agreement import JudgeAgreement
from evaluators.objective import QUALITY, Costs, Objective, front
from evaluators.outcome import Evaluation
from evaluators.racing.race import Race, Standing, race
from evaluators.racing.stopping import CAUTIOUS, UNHURRIED, ErrorRate, Patience
from optimizer.search.budget_forecast import Forecast
from optimizer.search.config_changes import changed_text
from optimizer.search.judgements import Judgements
from optimizer.search.module_score import ModuleScore
from optimizer.search.probe import Probe
from optimizer.search.reserve import Reserve
from optimizer.search.trial import Status, Trial, shortened
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.model import Model
from search_spaces import PipelineConfig, SearchSpace

if TYPE_CHECKING:
    from optimizer.stages.structure.proposals import Proposer

MOST_POINTS = 8
"""So many configs of a front are scored on the holdout."""


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
    errors: ErrorRate = field(default_factory=ErrorRate)
    _recorded: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.incumbent = self.baseline
        self.forecast = Forecast(self.evaluator, self.baseline, self.singles)

    def race(
        self,
        stage: str,
        configs: Sequence[PipelineConfig],
        *,
        first: int = 16,
        most: int | None = None,
        patience: Patience = UNHURRIED,
        keep: PipelineConfig | None = None,
        errors: ErrorRate | None = None,
    ) -> list[Standing]:
        """Race the configs, record each as a trial, and make the best the incumbent.

        Args:
            stage: as the trials are tagged.
            configs: who races; equal ones race once.
            first: on how many examples all of them run.
            most: on how many examples at the most; None for all.
            patience, keep: see `evaluators.racing.race.race`.
            errors: how often comparisons may err; by default they share the run's rate.

        Returns:
            The standings, in the order given.

        Raises:
            BudgetExhausted: the race was cut off; what it had found by then is taken.
        """
        distinct = list({config.key: config for config in configs}.values())
        result = race(
            distinct,
            self.evaluator,
            self.examples[:most],
            errors or self.errors,
            first=first,
            patience=patience,
            objective=self.objective,
            keep=keep,
            before_rung=self.forecast.check,
        )
        return self._conclude(stage, result)

    def run_on(self, configs: Sequence[PipelineConfig], size: int) -> None:
        """Score configs on so many of the search examples, the first ones.

        Raises:
            BudgetExhausted: they can't be paid.
        """
        runs = list(product(configs, self.examples[:size]))
        self.forecast.check(runs)
        self.evaluator.run(runs)

    def conclude(
        self,
        stage: str,
        configs: Sequence[PipelineConfig],
        finished: Sequence[PipelineConfig],
        cut_off: BudgetExhausted | None = None,
    ) -> None:
        """Record configs that were run outside of a race, and make the best the incumbent.

        Args:
            finished: those that were not dropped on the way; they share their examples.
            cut_off: why it could not go on, if it could not; raised in the end.
        """
        left = {config.key for config in finished}
        standings = []
        for config in configs:
            known = self.evaluator.known(config)
            dropped = config.key not in left and not known.disqualified
            told = "dropped with one of its members" if dropped else ""
            standings.append(Standing(config, known, config.key in left, told))
        self._conclude(stage, Race(tuple(standings), cut_off))

    def _conclude(self, stage: str, result: Race) -> list[Standing]:
        base = self.last_trial(self.incumbent)
        self._lead(result)
        for standing in result.standings:
            self._record(stage, standing, result, base)
        if self.objective.pareto:
            self.protect_holdout()
        if result.cut_off is not None:
            raise result.cut_off
        return list(result.standings)

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
        """Those that are not clearly behind, of all whose calls on these examples were made before.

        They come best estimate first.

        Args:
            size: on how many of the search examples.
        """
        examples = self.examples[:size]
        free = [config for config in configs if self.forecast.are_free(config, examples)]
        result = race(
            free, self.evaluator, examples, ErrorRate(), patience=CAUTIOUS, objective=self.objective
        )
        finished = sorted(result.finished, key=lambda s: -s.evaluation.mean)
        return [standing.config for standing in finished]

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

    def _lead(self, result: Race) -> None:
        """Let the best of those that finished lead, or the incumbent stay."""
        finished = [standing.config for standing in result.finished if standing.evaluation.scores]
        rivals = {c.key: c for c in sorted([self.incumbent, *finished], key=self._changes)}
        qualified = [config for config in rivals.values() if self.may_lead(config)]
        working = [c for c in qualified if self.evaluator.known(c).works]
        winner = self.best(working or qualified, beside=self.raced())
        if winner is not None and winner != self.incumbent:
            self.incumbent = winner
            self.protect_holdout()

    def may_lead(self, config: PipelineConfig) -> bool:
        """Whether its mean is its own, and the final pass stays affordable with it."""
        return not self.evaluator.known(config).disqualified and self.reserve.allows(config)

    def _changes(self, config: PipelineConfig) -> int:
        """How many knobs are others than in the baseline: of equals, the fewest win."""
        return len(self.baseline.differences(config))

    def raced(self) -> list[PipelineConfig]:
        """Every config that was a trial, in the order of their first."""
        return list({trial.config.key: trial.config for trial in self.trials}.values())

    def _record(self, stage: str, standing: Standing, result: Race, base: Trial | None) -> None:
        if result.cut_off is not None and standing.finished:  # with what it had seen by then
            known = self.evaluator.known(standing.config)
            standing = replace(standing, evaluation=known)
        evaluation = standing.evaluation
        if len(evaluation.outcomes) <= self._recorded.get(standing.config.key, 0):
            return  # nothing new: it was a trial already
        self._recorded[standing.config.key] = len(evaluation.outcomes)
        detail = "; ".join(filter(None, (standing.reason, _first_failure(evaluation))))
        status = self._status(standing, result)
        self._note(stage, standing.config, evaluation, status, detail, base)

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

    def _status(self, standing: Standing, result: Race) -> Status:
        if standing.evaluation.disqualified:
            return "disqualified"
        if self._has_seen_all(standing.config, standing.evaluation):
            return "complete"
        if not standing.finished:
            return "stopped_early"
        return "cut_off" if result.cut_off else "promoted"


def _mean_on(evaluation: Evaluation, common: set[int]) -> float:
    return float(np.mean([evaluation.scores[i] for i in common])) if common else 0.0


def _first_failure(evaluation: Evaluation) -> str:
    failures = [o.failure for o in evaluation.outcomes.values() if o.failure]
    if not failures:
        return ""
    return shortened(" ".join(f"{failures[0].module}: {failures[0].message}".split()), 500)
