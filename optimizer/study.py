"""The state of one search: what was tried, who leads, and what may still be spent."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evaluators.agreement import Agreement
from evaluators.diagnoser import Diagnoser, Diagnosis
from evaluators.evaluation import Evaluation, Evaluator
from evaluators.objective import QUALITY, Costs, Objective, front
from evaluators.racing import Race, Standing, race
from evaluators.stopping import CAUTIOUS, UNHURRIED, ErrorRate, Patience
from optimizer.call_groups import CallGroup, ModuleCalls, call_groups, calls_ahead, module_calls
from optimizer.space_checks import named_models
from optimizer.trial import Status, Trial, shortened
from pipelines import ModuleStep
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.prices import price_of
from search_spaces import PipelineConfig, SearchSpace
from search_spaces.config import canonical_json

if TYPE_CHECKING:
    from optimizer.proposals import Proposer

logger = logging.getLogger(__name__)

RESCUE_EXAMPLES = 4
RESCUE_GAIN = 0.5
"""On how many failed examples a config is tried, and how much better it must do for a race."""

BYTES_PER_TOKEN = 6
"""More than most texts have."""

MOST_POINTS = 8
"""So many configs of a front are scored on the holdout."""

SLOWER = 2.0
"""How much longer than the calls themselves a pass may take: rates are limited, calls retried."""


class _Cost(NamedTuple):
    usd: float
    calls: int
    seconds: float


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
    may_change: bool = True
    """Whether there is anything to search, so that the holdout has more than the baseline."""
    objective: Objective = QUALITY
    seed: int = 0
    journal: Path | None = None
    """Where Optuna's study is kept; None keeps it in memory."""
    diagnoser: Diagnoser | None = None
    on_trial: Callable[[Trial, Study], None] = lambda trial, study: None
    incumbent: PipelineConfig = field(init=False)
    single_model: PipelineConfig | None = None
    """The best config with one model in all modules, once they were raced."""
    singles: dict[str, PipelineConfig] = field(default_factory=dict)
    """By label, the configs with that model in all modules."""
    trials: list[Trial] = field(default_factory=list)
    compared: set[tuple[str, str]] = field(default_factory=set)
    """Modules whose listed networks were compared, with the key of the config around them."""
    proposer: Proposer | None = None
    """Optuna's study, once the structure stage has begun one."""
    agreement: dict[str, Agreement] = field(default_factory=dict)
    """By module, how far the diagnoser agreed with what was measured."""
    judged: dict[str, int] = field(default_factory=dict)
    """By module, how many examples the diagnoser judged, in all rounds."""
    diagnoses_failed: int = 0
    """How often the diagnoser gave no usable answer."""
    errors: ErrorRate = field(default_factory=ErrorRate)
    _ratings: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    """By module and its inputs, then by its output, both as canonical JSON."""
    _recorded: dict[str, int] = field(default_factory=dict)
    _calls: dict[str, list[ModuleCalls]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.incumbent = self.baseline

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
            patience, keep: see `evaluators.racing.race`.
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
            before_rung=self._check_room,
        )
        return self._conclude(stage, result)

    def run_on(self, configs: Sequence[PipelineConfig], size: int) -> None:
        """Score configs on so many of the search examples, the first ones.

        Raises:
            BudgetExhausted: they can't be paid.
        """
        examples = self.examples[:size]
        self._check_room(configs, examples)
        for config in configs:
            self.evaluator.evaluate(config, examples)

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
        self._lead(result)
        for standing in result.standings:
            self._record(stage, standing, result)
        if self.objective.pareto:
            self.protect_holdout()
        if result.cut_off is not None:
            raise result.cut_off
        return list(result.standings)

    def rating(self, step: ModuleStep) -> float | None:
        """What the diagnoser said of a module's output on the same inputs, in whatever round."""
        return self._ratings.get(_judged_inputs(step), {}).get(shown(step))

    def note_diagnosis(self, steps: Sequence[ModuleStep], diagnosis: Diagnosis | None) -> None:
        """Remember what the diagnoser said of distinct outputs that a module gave on its inputs."""
        if diagnosis is None:
            self.diagnoses_failed += 1
            return
        module = steps[0].module
        self.judged[module] = self.judged.get(module, 0) + 1
        for step, rating in zip(steps, diagnosis.ratings, strict=True):
            self._ratings.setdefault(_judged_inputs(step), {})[shown(step)] = rating

    def measured(self) -> Iterator[tuple[PipelineConfig, int, float]]:
        """Every config that was raced, on every example with a score."""
        for config in self.raced():
            for index, score in self.evaluator.known(config).scores.items():
                yield config, index, score

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
        free = [c for c in configs if self.evaluator.is_paid(c, examples[0])]
        result = self._race_paid(free, examples)
        if result.cut_off is not None:  # what needs no call on one example may need one on another
            free = [c for c in free if all(self.evaluator.is_paid(c, i) for i in examples)]
            result = self._race_paid(free, examples)
        finished = sorted(result.finished, key=lambda s: -s.evaluation.mean)
        return [standing.config for standing in finished]

    def _race_paid(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> Race:
        with self.evaluator.session.cached_only():
            return race(
                configs,
                self.evaluator,
                examples,
                ErrorRate(),
                patience=CAUTIOUS,
                objective=self.objective,
            )

    def rescuers(self, configs: Sequence[PipelineConfig]) -> list[PipelineConfig]:
        """Those that do clearly better on the first few examples that the incumbent fails.

        That says nothing of how good they are, since the examples were picked for their failures;
        it says that a race may be worth its calls.
        """
        scores = self.evaluator.known(self.incumbent).scores
        failed = [i for i in self.examples if i in scores and scores[i] < 0.5][:RESCUE_EXAMPLES]
        if not failed:
            return []
        found = []
        for config in configs:
            self._check_room([config], failed)
            tried = self.evaluator.peek(config, failed).scores
            if sum(tried[i] - scores[i] for i in tried) >= RESCUE_GAIN * len(failed):
                found.append(config)
        return found

    def has_room(self, configs: Sequence[PipelineConfig], size: int) -> bool:
        """Whether the nominal budget reaches for these on so many of the search examples."""
        try:
            self._check_room(configs, self.examples[:size])
        except BudgetExhausted:
            return False
        return True

    def check_calls(self, calls: int) -> None:
        """Stop before so many calls that the nominal budget has no room for them."""
        left = self.evaluator.session.nominal_left()
        if calls > left.calls:
            raise BudgetExhausted(f"{calls} calls come next, but {left.calls:.0f} are left")

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
        """Of all that were scored on every search example, those that no other beats in all."""
        complete = [c for c in self.raced() if self._is_complete(c)]
        costs = [self.evaluator.known(c).costs for c in complete]
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
    def uniform(self) -> dict[str, tuple[str, ...]]:
        """The labels to choose from by module, of those whose members all ask one model.

        Members that differ stay as they are when models are allocated: which ones go together is
        for the structure to say.
        """
        modules = self.incumbent.modules
        choices = self.space.models.items()
        return {m: labels for m, labels in choices if len(set(modules[m].members)) == 1}

    def seen(self, config: PipelineConfig) -> int:
        """How many of the search examples, from the first on, the config was run on."""
        known = self.evaluator.known(config).outcomes
        return next((n for n, i in enumerate(self.examples) if i not in known), len(self.examples))

    def _is_complete(self, config: PipelineConfig) -> bool:
        known = self.evaluator.known(config)
        return len(known.outcomes) >= len(self.examples) and not known.disqualified

    def _costs(self, evaluation: Evaluation, common: set[int]) -> Costs:
        """The score on common examples; dollars and seconds on all there are."""
        costs = evaluation.costs
        return costs._replace(score=_mean_on(evaluation, common))

    def protect_holdout(self) -> None:
        """Keep back what the final pass over the holdout may take.

        The best single model comes last there, and may be too dear for what is left.
        """
        finalists = self._finalists(self.incumbent)
        if len(finalists) > 1:
            points = [point for point in self.operating_points() if point not in finalists]
            for more in (self.single_model or self.incumbent, *points):
                if self._fits(self._holdout_cost([*finalists, more])):
                    finalists.append(more)
        usd, calls, seconds = self._holdout_cost(finalists)
        session = self.evaluator.session
        if session.budget.seconds is not None:  # latencies may be those of another time
            seconds = min(seconds, session.budget.seconds / 3)
        session.protect(usd, calls, seconds)

    def leave_out_dear_models(self) -> None:
        """Drop the models of which one call may cost more than half of what the search may spend,
        and the networks that ask them.

        A call that can't be reserved would end the search for all the others too.
        """
        answered = self.evaluator.session.nominal
        inputs = BYTES_PER_TOKEN * answered.input_tokens / max(1, answered.calls)
        left = self.evaluator.session.nominal_left().usd
        dear = set()
        choices = itertools.chain.from_iterable(self.space.models.values())
        for label in dict.fromkeys([*choices, *named_models(self.space)]):
            model = self.evaluator.models[label]
            price = price_of(model)
            worst = model.max_tokens * price.output_usd + inputs * price.input_usd
            if 2 * worst > left:
                dear.add(label)
                logger.warning(
                    "%s is left out: its longest answer may cost $%.4f, more than half of the "
                    "$%.4f left for the search; give more, or Model(%r, max_tokens=...) below %d",
                    label, worst, max(0.0, left), model.name, model.max_tokens,
                )  # fmt: skip
        self.space = self.space.without(dear)

    def _finalists(self, incumbent: PipelineConfig) -> list[PipelineConfig]:
        return [self.baseline, *([incumbent] if self.may_change else [])]

    def _holdout_cost(self, configs: Sequence[PipelineConfig]) -> _Cost:
        """What it may take to run these on the holdout.

        Every example is taken to cost as much as the dearest seen of its config.
        """
        usd, calls, seconds = max(map(self.most_usd_of_a_call, configs)), 0, 0.0
        for config in configs:
            known = self.evaluator.known(config)
            calls += self.holdout_examples * config.calls_per_run
            usd += self.holdout_examples * max((o.usd for o in known.outcomes.values()), default=0)
            if known.outcomes:
                turns = math.ceil(self.holdout_examples / self.evaluator.concurrency)
                seconds += SLOWER * turns * known.latency_s
        return _Cost(usd, calls, seconds)

    def _fits(self, cost: _Cost) -> bool:
        """Whether so much is left of the nominal budget, protected or not."""
        budget, nominal = self.evaluator.session.budget, self.evaluator.session.nominal
        return (budget.usd is None or nominal.usd + cost.usd <= budget.usd) and (
            budget.calls is None or nominal.calls + cost.calls <= budget.calls
        )

    def most_usd_of_a_call(self, config: PipelineConfig) -> float:
        """What must be left for a call to be allowed at all: its answer may be the longest.

        Its input is bounded by bytes, of which a token has about four.
        """
        models = [self.evaluator.models[i] for labels in config.allocation.values() for i in labels]
        answer = max(price_of(model).output_usd * model.max_tokens for model in models)
        outcomes = self.evaluator.known(config).outcomes.values()
        return answer + BYTES_PER_TOKEN * max((o.usd for o in outcomes), default=0.0)

    def _lead(self, result: Race) -> None:
        """Let the best of those that finished lead, or the incumbent stay."""
        finished = [standing.config for standing in result.finished if standing.evaluation.scores]
        rivals = {c.key: c for c in [self.incumbent, *finished]}
        qualified = [
            c
            for c in rivals.values()
            if not self.evaluator.known(c).disqualified and self._can_finish(c)
        ]
        winner = self.best(qualified, beside=self.raced())
        if winner is not None and winner != self.incumbent:
            self.incumbent = winner
            self.protect_holdout()

    def raced(self) -> list[PipelineConfig]:
        """Every config that was a trial, in the order of their first."""
        return list({trial.config.key: trial.config for trial in self.trials}.values())

    def _can_finish(self, winner: PipelineConfig) -> bool:
        """Whether the holdout pass stays affordable with this config leading."""
        return self._fits(self._holdout_cost(self._finalists(winner)))

    def _check_room(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> None:
        """Stop before a rung that the nominal budget has no room for.

        Nominal spend does not depend on what the cache held, so that a run started again stops
        at the same place; the gateway guards the real spend call by call.
        """
        left = self.evaluator.session.nominal_left()
        if math.isinf(left.calls) and math.isinf(left.usd):
            return
        calls = usd = 0.0
        for group, ahead in self._calls_ahead(configs, examples).items():
            calls += ahead
            usd += ahead * self._usd_per_call(group.label)
        wanted = f"the next {len(examples)} examples of {len(configs)} configs would take about "
        if calls > left.calls:
            raise BudgetExhausted(
                f"{wanted}{calls:.0f} calls, and {max(0, left.calls):.0f} are left for the search"
            )
        if usd > left.usd:
            raise BudgetExhausted(
                f"{wanted}${usd:.4f}, and ${max(0.0, left.usd):.4f} are left for the search"
            )

    def _calls_ahead(
        self, configs: Sequence[PipelineConfig], examples: Sequence[int]
    ) -> dict[CallGroup, int]:
        """At most so many new calls, those that configs share with others counted once."""
        known = {c.key: self.evaluator.known(c).outcomes.keys() for c in [*self.raced(), *configs]}
        done = [(self._module_calls(c), known[c.key]) for c in self.raced()]
        coming = [(self._module_calls(c), set(examples) - known[c.key]) for c in configs]
        return calls_ahead(done, coming)

    def calls_ahead(self, configs: Sequence[PipelineConfig], size: int) -> int:
        """At most so many new calls it takes to run these on the first so many examples."""
        return sum(self._calls_ahead(configs, self.examples[:size]).values())

    def call_groups(self, config: PipelineConfig) -> frozenset[CallGroup]:
        """The calls that a config makes on an example, at most."""
        return call_groups(self._module_calls(config))

    def _module_calls(self, config: PipelineConfig) -> list[ModuleCalls]:
        if config.key not in self._calls:
            bound = self.evaluator.program(config).bound
            self._calls[config.key] = module_calls(self.evaluator.pipeline, bound)
        return self._calls[config.key]

    def _usd_per_call(self, label: str) -> float:
        """As measured with the model alone in all modules; else as the baseline's calls cost."""
        for config in (self.singles.get(label), self.baseline):
            known = self.evaluator.known(config) if config else None
            if known is not None and known.outcomes:
                return known.usd_per_example / max(1.0, known.calls_per_example)
        return 0.0

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
            status=self._status(standing, result),
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
            members_failed=evaluation.members_failed,
            agreement=evaluation.agreement,
        )
        self.trials.append(trial)
        self.on_trial(trial, self)

    def _status(self, standing: Standing, result: Race) -> Status:
        if standing.evaluation.disqualified:
            return "disqualified"
        if len(standing.evaluation.outcomes) >= len(self.examples):
            return "complete"
        if not standing.finished:
            return "stopped_early"
        return "cut_off" if result.cut_off else "promoted"


def judged(step: ModuleStep) -> dict[str, Any]:
    """What the diagnoser sees of a step: its outputs but the reasoning."""
    return {k: v for k, v in (step.outputs or {}).items() if k != "reasoning"}


def shown(step: ModuleStep) -> str:
    """The same as canonical JSON: outputs that read alike are one output."""
    return canonical_json(judged(step))


def _judged_inputs(step: ModuleStep) -> tuple[str, str]:
    return step.module, canonical_json(step.inputs)


def _mean_on(evaluation: Evaluation, common: set[int]) -> float:
    return float(np.mean([evaluation.scores[i] for i in common])) if common else 0.0


def _first_failure(evaluation: Evaluation) -> str:
    failures = [o.failure for o in evaluation.outcomes.values() if o.failure]
    if not failures:
        return ""
    return shortened(" ".join(f"{failures[0].module}: {failures[0].message}".split()), 500)
