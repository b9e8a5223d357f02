"""Scoring configs on examples: concurrent, remembered, failures kept apart from scores."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

import dspy
import joblib
import numpy as np

from evaluators.errors import MetricError
from evaluators.metrics import BoundMetric, Score
from evaluators.objective import Costs
from evaluators.statistics import Interval, mean_interval
from pipelines import BoundProgram, Failure, ModuleStep, Trace, Tunable
from pipelines.aggregators.calls import calls_per_run, most_calls
from pipelines.fingerprint import fingerprint
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.gateway import Session
from pipelines.llms.model import Model
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json

T = TypeVar("T")
R = TypeVar("R")

MOST_UNSCORED = 0.1
"""A config with a larger share of infrastructure failures than this is disqualified."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One config on one example."""

    score: float | None
    """In [0, 1]; None when an infrastructure failure, or the judge's, left it unscored."""
    usd: float
    calls: int
    latency_s: float
    failure: Failure | None
    feedback: str | None = None
    """What the metric said about it, if it says anything."""
    members_failed: tuple[Failure, ...] = ()
    """What the members of wide modules made up for: see `ModuleStep`."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """By wide module, the share of its members that agreed."""
    asked: Mapping[str, int] = field(default_factory=dict)
    """How often each module was asked, where the program decides that; and how many calls it made
    that belong to none."""
    returned: tuple[str, ...] = ()
    """The fields that it returned, where the program decides that."""
    judge_usd: float = 0.0
    """What judging it took; no part of `usd`, since running the pipeline needs no judge."""

    @property
    def outage(self) -> bool:
        """Whether infrastructure kept it from being what the config says."""
        own = () if self.failure is None else (self.failure,)
        return any(failure.infrastructure for failure in own + self.members_failed)


@dataclass(frozen=True)
class Evaluation:
    """One config on some examples, by the examples' indices."""

    outcomes: Mapping[int, Outcome]

    @cached_property
    def scores(self) -> dict[int, float]:
        """Scores by example, without the unscored."""
        return {i: o.score for i, o in self.outcomes.items() if o.score is not None}

    @property
    def mean(self) -> float:
        """Mean score; NaN when nothing was scored."""
        scores = list(self.scores.values())
        return float(np.mean(scores)) if scores else float("nan")

    @property
    def interval(self) -> Interval | None:
        """Mean score with its 95% interval; None when nothing was scored."""
        scores = list(self.scores.values())
        return mean_interval(scores) if scores else None

    @property
    def failures(self) -> dict[str, int]:
        """How many examples failed, by kind."""
        kinds = (o.failure.kind for o in self.outcomes.values() if o.failure)
        return dict(sorted(Counter(kinds).items()))

    @property
    def works(self) -> bool:
        """Whether any run came to its end."""
        return any(outcome.failure is None for outcome in self.outcomes.values())

    @property
    def members_failed(self) -> dict[str, int]:
        """How often the members of wide modules had something to make up for, by kind."""
        kinds = (f.kind for o in self.outcomes.values() for f in o.members_failed)
        return dict(sorted(Counter(kinds).items()))

    @property
    def agreement(self) -> dict[str, float]:
        """Mean share of members that agreed, by wide module."""
        by_module: dict[str, list[float]] = {}
        for outcome in self.outcomes.values():
            for module, share in outcome.agreement.items():
                by_module.setdefault(module, []).append(share)
        return {module: float(np.mean(shares)) for module, shares in by_module.items()}

    @property
    def unscored(self) -> int:
        """How many examples infrastructure failures left without a score."""
        return len(self.outcomes) - len(self.scores)

    @property
    def disqualified(self) -> bool:
        """Whether outages hit too large a share for the mean to be this config's."""
        return self.hit > MOST_UNSCORED * len(self.outcomes)

    @property
    def hit(self) -> int:
        """How many examples met outages."""
        return sum(outcome.outage for outcome in self.outcomes.values())

    @property
    def usd_per_example(self) -> float:
        """Mean dollars per example, at recorded prices."""
        return self._mean("usd")

    @property
    def calls_per_example(self) -> float:
        """Mean calls per example."""
        return self._mean("calls")

    @property
    def latency_s(self) -> float:
        """Mean seconds on the critical path."""
        return self._mean("latency_s")

    @property
    def costs(self) -> Costs:
        """Mean score, dollars and seconds per example."""
        return Costs(self.mean, self.usd_per_example, self.latency_s)

    def on(self, examples: Collection[int]) -> Evaluation:
        """The same on some of the examples."""
        return Evaluation({i: o for i, o in self.outcomes.items() if i in examples})

    def _mean(self, name: str) -> float:
        values = [getattr(o, name) for o in self.outcomes.values()]
        return float(np.mean(values)) if values else float("nan")


class Evaluator:
    """Scores configs of one pipeline on one dataset, each config and example at most once."""

    def __init__(
        self,
        pipeline: Tunable,
        models: Mapping[str, Model],
        examples: Sequence[dspy.Example],
        metric: BoundMetric,
        session: Session,
        concurrency: int = 32,
    ) -> None:
        self.pipeline = pipeline
        self.models = models
        self.examples = examples
        self.metric = metric
        self.session = session
        self.concurrency = concurrency
        self._memo: dict[Any, ModuleStep] = {}
        self._programs: dict[str, BoundProgram] = {}
        self._known: dict[str, dict[int, Outcome]] = {}
        self._scores: dict[tuple[int, str], Score] = {}
        """By example and fingerprint of the answer: a metric may ask a judge, or run tests."""
        self.demo_sources: dict[str, set[int]] = {}
        """The examples that a demo was made from, by the demo's canonical JSON."""
        self._only_asks = pipeline.is_fixed and all(m.is_llm for m in pipeline.modules)
        """Else what needs no call may need a user's code, which may take its time."""

    def evaluate(self, config: PipelineConfig, indices: Sequence[int]) -> Evaluation:
        """The config's outcomes on these examples; what is known already is not run again.

        The examples that its own demos were made from are left out.

        Raises:
            BudgetExhausted: not all of them could be paid; then none of the new ones is kept.
            MetricError: the metric raised, or returned no score.
        """
        evaluation = self.peek(config, indices)
        self._known[config.key].update(evaluation.outcomes)
        return evaluation

    def peek(self, config: PipelineConfig, indices: Sequence[int]) -> Evaluation:
        """The same, but what was not known before does not count among what is `known`.

        For examples that were picked by how another config did on them: they would bias every
        later comparison.

        Raises: as `evaluate`.
        """
        known = self._known.setdefault(config.key, {})
        program = self.program(config)
        shown = self.shown_in(config)
        indices = [index for index in indices if index not in shown]
        unknown = [i for i in indices if i not in known]
        new = self._paid_outcomes(program, unknown) if self._only_asks else {}
        missing = [i for i in indices if i not in known and i not in new]
        new.update(zip(missing, self.map(partial(self._outcome, program), missing), strict=True))
        return Evaluation({i: known[i] if i in known else new[i] for i in indices})

    def outcome(self, config: PipelineConfig, index: int) -> Outcome:
        """The config on one example; may be asked by many threads at once, unlike the others.

        Raises: as `evaluate`.
        """
        known = self._known.setdefault(config.key, {})
        if index not in known:
            known[index] = self._outcome(self.program(config), index)
        return known[index]

    def shown_in(self, config: PipelineConfig) -> set[int]:
        """The examples that demos of the config were made from, or that have the same inputs."""
        demos = (demo for module in config.modules.values() for demo in module.all_demos)
        sources = set().union(*(self.demo_sources.get(canonical_json(d), ()) for d in demos))
        if not sources:
            return set()
        shown = {self._inputs[source] for source in sources}
        return {index for index, text in enumerate(self._inputs) if text in shown}

    @cached_property
    def _inputs(self) -> list[str]:
        """Of all examples, as text."""
        return [canonical_json(self.inputs(index)) for index in range(len(self.examples))]

    def known(self, config: PipelineConfig) -> Evaluation:
        """All that is known about the config."""
        return Evaluation(dict(self._known.get(config.key, {})))

    def most_calls(self, config: PipelineConfig) -> int:
        """The most calls that one run of the config makes.

        Where the program decides how often it asks whom: as often as it has been seen to.
        """
        if self.pipeline.is_fixed:
            return calls_per_run(config)
        times = {name: max(seen) for name, seen in self._asked().items()}
        own = sum(times.pop(n, 1) * most_calls(each) for n, each in config.modules.items())
        seen = (outcome.calls for outcome in self.known(config).outcomes.values())
        return max(own + sum(times.values()), *seen, 0)

    def times(self) -> Mapping[str, int]:
        """How often a run asks each module, about; empty where that is always once."""
        asked = self._asked()
        return {name: math.ceil(float(np.mean(seen))) for name, seen in asked.items()}

    def returned(self) -> tuple[str, ...]:
        """The fields that runs returned; empty where the pipeline says itself which."""
        outcomes = (each for known in self._known.values() for each in known.values())
        return tuple(dict.fromkeys(name for outcome in outcomes for name in outcome.returned))

    def _asked(self) -> Mapping[str, list[int]]:
        """By module, how often runs of the first config asked it."""
        if self.pipeline.is_fixed:
            return {}
        first: Mapping[int, Outcome] = next(iter(self._known.values()), {})
        asked: dict[str, list[int]] = {}
        for outcome in first.values():
            for name, times in outcome.asked.items():
                asked.setdefault(name, []).append(times)
        return asked

    def program(self, config: PipelineConfig) -> BoundProgram:
        """The pipeline bound to the config; steps are shared between configs."""
        if config.key not in self._programs:
            self._programs[config.key] = self.pipeline.bind(
                config, self.models, self.session, self._memo
            )
        return self._programs[config.key]

    def is_paid(self, config: PipelineConfig, index: int) -> bool:
        """Whether the config can be scored on this example without a call, a judge's included."""
        with self.session.cached_only():
            try:
                trace = self.trace(config, index)
                if self.metric.judging and trace.outputs is not None:
                    self._judged(index, trace.outputs)
            except BudgetExhausted:
                return False
        return True

    def inputs(self, index: int) -> dict[str, Any]:
        """The pipeline's input fields of one example."""
        return {field: self.examples[index][field] for field in self.pipeline.inputs}

    def labels(self, index: int) -> dict[str, Any]:
        """What the metric compares with: its columns; of a callable, all that are no inputs."""
        example = self.examples[index]
        others = [key for key, _ in example.items() if key not in self.pipeline.inputs]
        return {key: example[key] for key in self.metric.fields or others}

    def trace(self, config: PipelineConfig, index: int) -> Trace:
        """What every module received and returned."""
        return self.program(config).run(self.inputs(index))

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        """`function` of every task, concurrently, in order.

        What the first of the tasks has raised is raised, and no further task is begun then.

        Raises:
            BudgetExhausted: any task was refused a call; the others have ended by then.
        """
        jobs = 1 if self.session.is_cached_only else min(self.concurrency, len(tasks))
        if not tasks:
            return []
        broken = threading.Event()
        ended = joblib.Parallel(n_jobs=jobs, prefer="threads")(
            joblib.delayed(_carry)(function, task, broken) for task in tasks
        )
        raised = [result.error for result in ended if isinstance(result, _Raised)]
        for error in sorted(raised, key=lambda error: isinstance(error, BudgetExhausted)):
            raise error
        return list(ended)

    def _paid_outcomes(self, program: BoundProgram, indices: Sequence[int]) -> dict[int, Outcome]:
        """The outcomes that need no call: work for one processor, so threads would not help."""
        outcomes = {}
        with self.session.cached_only():
            for index in indices:
                with suppress(BudgetExhausted):
                    outcomes[index] = self._outcome(program, index)
        return outcomes

    def _outcome(self, program: BoundProgram, index: int) -> Outcome:
        trace = program.run(self.inputs(index))
        if trace.outputs is not None:
            judged = self._judged(index, trace.outputs)
        else:
            outage = trace.failure is not None and trace.failure.infrastructure
            judged = Score(None if outage else 0.0, failure=trace.failure)
        return Outcome(
            score=judged.value,
            usd=trace.usd,
            calls=len(trace.calls),
            latency_s=trace.latency_s,
            failure=judged.failure,
            feedback=judged.feedback,
            members_failed=trace.made_up_for,
            asked={} if self.pipeline.is_fixed else self._times(trace),
            returned=() if self.pipeline.is_fixed else tuple(trace.outputs or ()),
            agreement={s.module: s.agreement for s in trace.steps if s.module in program.wide},
            judge_usd=judged.usd,
        )

    def _times(self, trace: Trace) -> Mapping[str, int]:
        names = {module.name for module in self.pipeline.modules}
        times: Counter[str] = Counter()
        for step in trace.steps:
            times[step.module] += 1 if step.module in names else len(step.calls)
        return times

    def _judged(self, index: int, outputs: Mapping[str, Any]) -> Score:
        answer = fingerprint(outputs)
        if answer is None:
            return self._scored(index, outputs)
        key = index, answer
        if key in self._scores:
            return self._scores[key]
        score = self._scored(index, outputs)
        if score.failure is None:  # a judge that is down may be up again
            self._scores[key] = score
        return score

    def _scored(self, index: int, outputs: Mapping[str, Any]) -> Score:
        try:
            return self.metric(self.examples[index], dspy.Prediction(**outputs))
        except MetricError as error:
            # by what is in it: the examples were shuffled, so its number would mislead
            example = f"{self.inputs(index)} with the answer {dict(outputs)}"
            shown = example if len(example) <= 500 else f"{example[:500]}..."
            raise MetricError(f"{error}; the example: {shown}") from error.__cause__


@dataclass(frozen=True, slots=True)
class _Raised:
    """How a task ended that has no result."""

    error: BaseException


def _carry(function: Callable[[T], R], task: T, broken: threading.Event) -> R | _Raised:
    """Return what is raised: joblib would replace its cause, and die of what is no `Exception`."""
    if broken.is_set():
        return _Raised(BudgetExhausted("not begun: another task broke"))
    try:
        return function(task)
    except BudgetExhausted as exhausted:
        return _Raised(exhausted)
    except Exception as error:
        broken.set()
        return _Raised(error)
