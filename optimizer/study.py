"""The state of one search: what was tried, who leads, and what may still be spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from evaluators.agreement import Agreement
from evaluators.diagnoser import Diagnoser
from evaluators.evaluation import Evaluation, Evaluator
from evaluators.racing import ErrorRate, Race, Standing, paired_differences, race
from optimizer.trial import Status, Trial
from pipelines.llms.call import BudgetExhausted
from search_spaces import PipelineConfig, SearchSpace

TOLERANCE = 0.005
"""Configs whose means differ by no more than this tie; a tie goes to the cheaper."""


@dataclass
class Study:
    """One search over one pipeline. Sequential: concurrency lives inside the evaluator."""

    evaluator: Evaluator
    space: SearchSpace
    examples: Sequence[int]
    """Indices of the search examples, in the order in which races use them."""
    holdout_examples: int
    """How many examples the final pass will run up to three configs on."""
    baseline: PipelineConfig
    diagnoser: Diagnoser | None = None
    on_trial: Callable[[Trial, Study], None] = lambda trial, study: None
    incumbent: PipelineConfig = field(init=False)
    single_model: PipelineConfig | None = None
    """The best config with one model in all modules, once they were raced."""
    singles: dict[str, PipelineConfig] = field(default_factory=dict)
    """By label, the configs with that model in all modules."""
    trials: list[Trial] = field(default_factory=list)
    agreement: dict[str, Agreement] = field(default_factory=dict)
    """By module, how far the diagnoser agreed with what was measured."""
    judged: dict[str, int] = field(default_factory=dict)
    """By module, on how many examples the diagnoser judged it in all rounds."""
    lost: set[tuple[str, tuple[str, ...], tuple[str, ...]]] = field(default_factory=set)
    """(module, its models, better ones): stopped in a race where nothing else differed."""
    diagnoses_failed: int = 0
    """How often the diagnoser gave no usable answer."""
    errors: ErrorRate = field(default_factory=ErrorRate)
    _recorded: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.incumbent = self.baseline

    def race(
        self,
        stage: str,
        configs: Sequence[PipelineConfig],
        *,
        first: int = 16,
        most: int | None = None,
        worse_half: float | None = None,
    ) -> list[Standing]:
        """Race the configs, record each as a trial, and make the best the incumbent.

        Args:
            stage: as the trials are tagged.
            configs: who races; equal ones race once.
            first: on how many examples all of them run.
            most: on how many examples at the most; None for all.
            worse_half: see `evaluators.racing.race`.

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
            self.errors,
            first=first,
            worse_half=worse_half,
            before_rung=self._check_room,
        )
        self._note_losers(result)
        self._lead(result)
        for standing in result.standings:
            self._record(stage, standing, result)
        if result.cut_off is not None:
            raise result.cut_off
        return list(result.standings)

    def gain(self, config: PipelineConfig, over: PipelineConfig) -> float | None:
        """Mean score of `config` less that of `over` on common examples; None without any."""
        known = self.evaluator.known
        differences = paired_differences(known(config), known(over))
        return float(np.mean(differences)) if len(differences) else None

    def measured(self) -> Iterator[tuple[PipelineConfig, int, float]]:
        """Every config that was raced, on every example with a score."""
        for config in self._raced():
            for index, score in self.evaluator.known(config).scores.items():
                yield config, index, score

    def desired(self, index: int) -> dict[str, Any]:
        """What the diagnoser may know of the right answer: labels, else the metric's feedback."""
        labels = self.evaluator.labels(index)
        if labels:
            return labels
        outcome = self.evaluator.known(self.incumbent).outcomes.get(index)
        return {"feedback": outcome.feedback} if outcome and outcome.feedback else {}

    def enumerate_paid(self, configs: Sequence[PipelineConfig]) -> list[PipelineConfig]:
        """Those whose calls were all made already, best estimate first: it costs nothing.

        They are raced on the examples that the better half of the single models has seen. None,
        if some of the calls on those examples were never made.
        """
        seen = {
            label: [i for i in self.examples if i in self.evaluator.known(config).scores]
            for label, config in self.singles.items()
        }
        most = sorted(seen.values(), key=len, reverse=True)[: (len(seen) + 1) // 2]
        if not most:
            return []
        examples = most[-1]
        labels = {label for label, indices in seen.items() if set(examples) <= set(indices)}
        candidates = [
            c for c in configs if labels.issuperset(chain.from_iterable(c.allocation.values()))
        ]
        free = [c for c in candidates if self.evaluator.is_paid(c, examples[0])]
        with self.evaluator.session.cached_only():
            result = race(free, self.evaluator, examples, self.errors, worse_half=0.0)
        if result.cut_off is not None:
            return []  # most calls were not made yet after all
        finished = sorted(result.finished, key=lambda s: -s.evaluation.mean)
        return [standing.config for standing in finished]

    def check_calls(self, calls: int) -> None:
        """Stop before so many calls that the nominal budget has no room for them."""
        left = self.evaluator.session.nominal_left()
        if calls > left.calls:
            raise BudgetExhausted(f"{calls} calls to rate a module, but {left.calls:.0f} are left")

    def best(self, configs: Sequence[PipelineConfig]) -> PipelineConfig | None:
        """The best estimate on the configs' common examples; a tie to the cheaper.

        None when there are no common examples with a score.
        """
        known = {c.key: self.evaluator.known(c) for c in configs}
        common = set.intersection(*(set(e.scores) for e in known.values())) if known else set()
        if not common:
            return None
        means = {key: _mean_on(e, common) for key, e in known.items()}
        lowest = max(means.values()) - TOLERANCE - 1e-12
        tied = [c for c in configs if means[c.key] >= lowest]
        return min(tied, key=lambda c: known[c.key].usd_per_example)

    def protect_holdout(self) -> None:
        """Keep back what the final pass over the holdout may take."""
        usd, calls = self._holdout_cost(self.incumbent)
        self.evaluator.session.protect(usd=usd, calls=calls)

    def _holdout_cost(self, incumbent: PipelineConfig) -> tuple[float, int]:
        """Dollars and calls of the final pass: baseline, best single model and incumbent.

        Every example is taken to cost as much as the dearest seen of its config.
        """
        finalists = [self.baseline]
        if self.space.size > 1:
            finalists += [self.single_model or incumbent, incumbent]
        usd = 0.0
        for config in finalists:
            outcomes = self.evaluator.known(config).outcomes.values()
            usd += self.holdout_examples * max((o.usd for o in outcomes), default=0.0)
        modules = len(self.evaluator.pipeline.llm_modules)
        return usd, len(finalists) * self.holdout_examples * modules

    def _lead(self, result: Race) -> None:
        """Let the best of all configs lead that have seen every example of this race.

        Not only this race's: else a row of ties, each to something cheaper, would lead downhill.
        """
        finished = [standing.config for standing in result.finished]
        seen = (
            set.intersection(
                *(set(s.evaluation.outcomes) for s in result.finished), set(self.examples)
            )
            if finished
            else set()
        )
        earlier = [c for c in self._raced() if seen <= set(self.evaluator.known(c).outcomes)]
        rivals = {c.key: c for c in [self.incumbent, *earlier, *finished]}
        qualified = [
            c
            for c in rivals.values()
            if not self.evaluator.known(c).disqualified and self._can_finish(c)
        ]
        winner = self.best(qualified)
        if winner is not None and winner != self.incumbent:
            self.incumbent = winner
            self.protect_holdout()

    def _note_losers(self, result: Race) -> None:
        for loser in result.standings:
            if loser.finished:
                continue
            for winner in result.finished:
                differences = loser.config.differences(winner.config)
                if len(differences) == 1 and (self.gain(loser.config, winner.config) or 0.0) < 0:
                    ((module, _, old, new),) = differences
                    self.lost.add((module, old, new))

    def _raced(self) -> list[PipelineConfig]:
        return list({trial.config.key: trial.config for trial in self.trials}.values())

    def _can_finish(self, winner: PipelineConfig) -> bool:
        """Whether the holdout pass stays affordable with this config leading."""
        session = self.evaluator.session
        usd, _ = self._holdout_cost(winner)
        return session.budget.usd is None or session.spent.usd + usd <= session.budget.usd

    def _check_room(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> None:
        """Stop before a rung that the nominal budget has no room for.

        Nominal spend does not depend on what the cache held, so that a run started again stops
        at the same place; the gateway guards the real spend call by call.
        """
        session = self.evaluator.session
        calls = usd = 0.0
        for config in configs:
            known = self.evaluator.known(config)
            missing = len(set(examples) - set(known.outcomes))
            calls += missing * len(self.evaluator.pipeline.llm_modules)
            usd += missing * (known.usd_per_example if known.outcomes else 0.0)
        left = session.nominal_left()
        if calls > left.calls or usd > left.usd:
            raise BudgetExhausted(
                f"the next {len(examples)} examples of {len(configs)} configs would take about "
                f"{calls:.0f} calls and ${usd:.4f}; {left.calls:.0f} calls and ${left.usd:.4f} "
                "are left for the search"
            )

    def _record(self, stage: str, standing: Standing, result: Race) -> None:
        evaluation = standing.evaluation
        if len(evaluation.outcomes) <= self._recorded.get(standing.config.key, 0):
            return  # nothing new: it was a trial already
        self._recorded[standing.config.key] = len(evaluation.outcomes)
        nominal = self.evaluator.session.nominal
        trial = Trial(
            number=len(self.trials),
            stage=stage,
            config=standing.config,
            status=_status(standing, result),
            score=evaluation.interval,
            examples=len(evaluation.scores),
            failures=evaluation.failures,
            unscored=evaluation.unscored,
            usd_per_example=evaluation.usd_per_example,
            latency_s=evaluation.latency_s,
            calls_per_example=evaluation.calls_per_example,
            nominal_usd=nominal.usd,
            nominal_calls=nominal.calls,
            seconds=self.evaluator.session.seconds,
            detail="; ".join(filter(None, (standing.reason, _first_failure(evaluation)))),
        )
        self.trials.append(trial)
        self.on_trial(trial, self)


def _mean_on(evaluation: Evaluation, common: set[int]) -> float:
    return float(np.mean([evaluation.scores[i] for i in common])) if common else 0.0


def _status(standing: Standing, result: Race) -> Status:
    if standing.evaluation.disqualified:
        return "disqualified"
    if not standing.finished:
        return "stopped_early"
    return "cut_off" if result.cut_off else "complete"


def _first_failure(evaluation: Evaluation) -> str:
    failures = [o.failure for o in evaluation.outcomes.values() if o.failure]
    return f"{failures[0].module}: {failures[0].message}" if failures else ""
