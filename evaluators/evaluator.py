"""Scoring configs on examples: concurrent, remembered, failures kept apart from scores."""

from __future__ import annotations

import math
import reprlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import dspy
import joblib
import numpy as np

from evaluators.errors import MetricError
from evaluators.metrics import BoundMetric, Score
from evaluators.outcome import Evaluation, Outcome, cost_by_module
from pipelines import BoundProgram, ModuleStep, Trace, Tunable
from pipelines.aggregators.calls import calls_per_run, most_calls
from pipelines.fingerprint import fingerprint
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.gateway import Session
from pipelines.llms.model import Model
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
        demos = (demo for module in config.modules.values() for demo in module.demos)
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
            by_module=cost_by_module(trace.steps),
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
            # by its content: the examples were shuffled, so its number would mislead
            shown = self.shown(index, outputs)
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
