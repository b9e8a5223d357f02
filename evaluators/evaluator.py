"""Scoring configs on examples: concurrent, remembered, failures kept apart from scores."""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

import dspy
import numpy as np

from evaluators.errors import MetricError
from evaluators.metrics import BoundMetric, Score
from evaluators.outcome import Evaluation, Outcome, Run
from evaluators.pool import Raised, first_error, run_pool
from pipelines import BoundProgram, Trace, Tunable
from pipelines.aggregators.calls import calls_per_run, most_calls
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.programs.binding import Binder, BoundModule
from pipelines.programs.concurrency import Resumable, finish
from pipelines.programs.memo import Memo, fingerprint
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json

T = TypeVar("T")
R = TypeVar("R")


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
        self.history: list[Run] = []
        """Every run, in the order in which they were asked for."""
        self._memo = Memo()
        self._binder = Binder(pipeline, models)
        self._programs: dict[str, BoundProgram] = {}
        self._known: dict[str, dict[int, Outcome]] = {}
        self._evaluations: dict[str, Evaluation] = {}
        self._scores = Memo()
        """By example and fingerprint of the answer: a metric may ask a judge, or run tests."""
        self.demo_sources: dict[str, set[int]] = {}
        """The examples that a demo was made from, by the demo's canonical JSON."""
        self._fields = pipeline.inputs
        """What runs are given: also the inputs of adopted configs."""

    def adopt(
        self, config: PipelineConfig, pipeline: Tunable, outcomes: Mapping[int, Outcome]
    ) -> None:
        """Take a config of another pipeline, with its outcomes so far, to be compared with."""
        self._programs[config.key] = pipeline.bind(config, self.models, self.session)
        self._known[config.key] = dict(outcomes)
        self._fields = tuple(dict.fromkeys((*self._fields, *pipeline.inputs)))

    def run(self, runs: Sequence[tuple[PipelineConfig, int]]) -> None:
        """Run configs on examples in one pool of threads; `known` then has the outcomes.

        Known outcomes are not run again, nor a config on an example that its own demos were made
        from. A step that several of the runs share is taken once, and an outage in it is the same
        for all of them, so that the concurrency changes no outcome.

        Args:
            runs: pairs of a config and an example's index.

        Raises:
            BudgetExhausted: a run was refused a call; the outcomes of those that ended are kept.
            MetricError: the metric raised, or returned no score.
        """
        missing = self._missing(runs)
        with self._memo.keeping_all(), self._scores.keeping_all():
            tasks = [self._outcome(config, index) for config, index in missing]
            ended = run_pool(tasks, self.concurrency)
        for (config, index), outcome in zip(missing, ended, strict=True):
            if not isinstance(outcome, Raised):
                self._keep(config, index, outcome)
        if (error := first_error(ended)) is not None:
            raise error

    def evaluate(self, config: PipelineConfig, indices: Sequence[int]) -> Evaluation:
        """The config's outcomes on these examples, but for those that its demos were made from.

        Raises: as `run`.
        """
        self.run([(config, index) for index in indices])
        known, shown = self.known(config).outcomes, self.shown_in(config)
        return Evaluation({index: known[index] for index in indices if index not in shown})

    def peek(self, config: PipelineConfig, index: int) -> Outcome:
        """The config on one example, without the outcome becoming `known`.

        For examples that were picked by another config's scores on them, which would bias later
        comparisons.

        Raises: as `run`.
        """
        known = self.known(config).outcomes
        if index in known:
            return known[index]
        outcome = finish(self._outcome(config, index))
        if not outcome.outage:
            self.history.append(Run(config, index, outcome))
        return outcome

    def outcome(self, config: PipelineConfig, index: int) -> Outcome:
        """The config on one example, in the caller's thread; safe for threads.

        Raises: as `run`.
        """
        if index not in self._known.get(config.key, {}):
            self._keep(config, index, finish(self._outcome(config, index)))
        return self._known[config.key][index]

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
        """The inputs of all examples, as text."""
        return [canonical_json(self.inputs(index)) for index in range(len(self.examples))]

    def known(self, config: PipelineConfig) -> Evaluation:
        """All that is known about the config so far."""
        outcomes = self._known.get(config.key, {})
        evaluation = self._evaluations.get(config.key)
        if evaluation is None or len(evaluation.outcomes) < len(outcomes):
            evaluation = self._evaluations[config.key] = Evaluation(dict(outcomes))
        return evaluation

    def most_calls(self, config: PipelineConfig) -> int:
        """The most calls of one run of the config, but for those that ask again since a reply could
        not be read; of a program that decides itself, the most that were seen."""
        if self.pipeline.is_fixed:
            return calls_per_run(config)
        times = {name: max(seen) for name, seen in self._asked().items()}
        own = sum(times.pop(n, 1) * most_calls(each) for n, each in config.modules.items())
        seen = (outcome.calls for outcome in self.known(config).outcomes.values())
        return max(own + sum(times.values()), *seen, 0)

    def times(self) -> Mapping[str, int]:
        """About how often a run asks each module; empty if always once."""
        asked = self._asked()
        return {name: math.ceil(float(np.mean(seen))) for name, seen in asked.items()}

    def returned(self) -> tuple[str, ...]:
        """The fields that runs returned; empty if the pipeline declares them."""
        if self.pipeline.is_fixed:
            return ()
        outcomes = (each for known in self._known.values() for each in known.values())
        return tuple(dict.fromkeys(name for each in outcomes for name in each.trace.outputs or ()))

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

    def bound(self, config: PipelineConfig) -> Mapping[str, BoundModule]:
        """The modules with their configs and sample indices, by name."""
        if self.pipeline.is_fixed and config.key not in self._programs:  # a program takes longer
            return self._binder.bind(config)
        return self.program(config).bound

    def inputs(self, index: int) -> dict[str, Any]:
        """The pipeline's input fields of one example."""
        return {field: self.examples[index][field] for field in self.pipeline.inputs}

    def labels(self, index: int) -> dict[str, Any]:
        """The metric's columns; of a callable, all columns that are no inputs."""
        example = self.examples[index]
        others = [key for key, _ in example.items() if key not in self.pipeline.inputs]
        return {key: example[key] for key in self.metric.fields or others}

    def shown(self, index: int, outputs: Mapping[str, Any]) -> str:
        """One example and an answer to it, long values cut, for messages."""
        written = reprlib.Repr()
        written.maxstring = written.maxother = 300
        written.maxdict = 20
        parts = (self.inputs(index), self.labels(index), dict(outputs))
        inputs, labels, answer = map(written.repr, parts)
        return f"{inputs} with the label {labels} and the answer {answer}"

    def trace(self, config: PipelineConfig, index: int) -> Trace:
        """What every module received and returned."""
        return self.program(config).run(self.inputs(index))

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        """`function` of every task, concurrently, in order.

        After an error no further task begins, and it is raised; `BudgetExhausted` is raised only
        where there is no other, after all tasks have ended.
        """
        ended = run_pool([_whole(function, task) for task in tasks], self.concurrency)
        if (error := first_error(ended)) is not None:
            raise error
        return [result for result in ended if not isinstance(result, Raised)]

    def _missing(
        self, runs: Sequence[tuple[PipelineConfig, int]]
    ) -> list[tuple[PipelineConfig, int]]:
        """The runs that are still to be done, each once."""
        configs = {config.key: config for config, _ in runs}
        shown = {key: self.shown_in(config) for key, config in configs.items()}
        missing = {
            (config.key, index): (config, index)
            for config, index in runs
            if index not in self._known.get(config.key, {}) and index not in shown[config.key]
        }
        return list(missing.values())

    def _keep(self, config: PipelineConfig, index: int, outcome: Outcome) -> None:
        self._known.setdefault(config.key, {})[index] = outcome
        self.history.append(Run(config, index, outcome))

    def _outcome(self, config: PipelineConfig, index: int) -> Resumable[Outcome]:
        program = self.program(config)
        example = self.examples[index]
        trace = yield from program.resumable({field: example[field] for field in self._fields})
        if trace.outputs is not None:
            judged = yield from self._judged(index, trace.outputs)
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
            asked={} if self.pipeline.is_fixed else self._times(trace),
            agreement={s.module: s.agreement for s in trace.steps if s.module in program.wide},
            judge_usd=judged.usd,
            trace=trace,
        )

    def _times(self, trace: Trace) -> Mapping[str, int]:
        names = {module.name for module in self.pipeline.modules}
        times: Counter[str] = Counter()
        for step in trace.steps:
            times[step.module] += 1 if step.module in names else len(step.calls)
        return times

    def _judged(self, index: int, outputs: Mapping[str, Any]) -> Resumable[Score]:
        answer = fingerprint(outputs)
        key = object() if answer is None else (index, answer)
        score = partial(self._scored, index, outputs)
        made = yield from self._scores.make({key: score}, _lasts)
        return made[key]

    def _scored(self, index: int, outputs: Mapping[str, Any]) -> Score:
        try:
            return self.metric(self.examples[index], dspy.Prediction(**outputs))
        except MetricError as error:
            # by its content: the examples were shuffled, so its number would mislead
            shown = self.shown(index, outputs)
            raise MetricError(f"{error}; the example: {shown}") from error.__cause__


def _lasts(score: Score) -> bool:
    """Whether to remember it: a judge that is down may be up again."""
    return score.failure is None


def _whole(function: Callable[[T], R], task: T) -> Resumable[R]:
    """A task without pauses."""
    yield None
    return function(task)
