"""A pipeline bound to a config: a `dspy.Module` that runs and leaves a trace."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import dspy

from pipelines.adapter import chat_adapter
from pipelines.aggregators import Answer
from pipelines.aggregators.judging import shown
from pipelines.bind_modules import bind_modules
from pipelines.binding import BoundModule
from pipelines.concurrency import run_together
from pipelines.config_checks import check_config
from pipelines.errors import PipelineError
from pipelines.failures import ModuleFailed, failure_of
from pipelines.llms.call_record import recording
from pipelines.members import AskedMembers
from pipelines.own_time import first_seconds
from pipelines.prediction import Prediction
from pipelines.predictors import make_predictor
from pipelines.signature import REASONING
from pipelines.trace import Failure, MemoKey, ModuleStep, Trace
from pipelines.tunable import Memo
from search_spaces import PipelineConfig
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    from pipelines.llms.gateway import Session
    from pipelines.llms.model import Model
    from pipelines.pipeline import Pipeline


class Program(dspy.Module):
    """A pipeline ready to run, safe for threads; made by `Pipeline.bind`.

    Its predictors are attributes named as the modules. The memo answers for a module whose
    config, sample indices and inputs it has seen; it belongs to one pipeline and one set of
    models, and knows nothing of predictors that are edited afterwards, so copies have none.

    Raises:
        PipelineError: the config does not fit the pipeline, or there is no session to ask by.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        config: PipelineConfig,
        models: Mapping[str, Model],
        session: Session | None,
        memo: Memo | None = None,
    ) -> None:
        super().__init__()
        check_config(pipeline.modules, config, models)
        self._pipeline = pipeline
        self._memo = memo
        self._session = session
        self._bound = bind_modules(pipeline, config, models)
        for module in pipeline.llm_modules:
            if session is None:
                raise PipelineError(f"module {module.name!r} asks a model, so bind needs a session")
            setattr(self, module.name, make_predictor(self._bound[module.name], session, memo))

    @property
    def bound(self) -> Mapping[str, BoundModule]:
        """The modules with their configs and sample indices, by name."""
        return self._bound

    @cached_property
    def wide(self) -> frozenset[str]:
        """The modules that have several members."""
        return frozenset(name for name, bound in self._bound.items() if len(bound.models) > 1)

    def run(self, inputs: Mapping[str, Any]) -> Trace:
        """See `BoundProgram.run`."""
        with dspy.context(adapter=chat_adapter(), disable_history=True, trace=None):
            return self._run(inputs)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The pipeline's outputs, as DSPy's optimizers and users want them.

        Raises:
            ModuleFailed: a module brought no outputs.
            PipelineError: an input is missing.
        """
        with dspy.context(adapter=chat_adapter(), disable_history=True):
            trace = self._run(inputs)
        if trace.failure is not None:
            raise ModuleFailed(trace.failure)
        return Prediction.of(trace.outputs or {}, trace.confidence)

    def prediction_of(self, inputs: Mapping[str, Any]) -> dspy.Prediction:
        """See `BoundProgram.prediction_of`."""
        prediction: dspy.Prediction = self(**inputs)
        return prediction

    def inputs_of(self, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See `BoundProgram.inputs_of`."""
        values = _taken(inputs, self._pipeline.inputs)
        needed = self._pipeline.before(name)
        with dspy.context(adapter=chat_adapter(), disable_history=True, trace=None):
            for level in self._pipeline.levels:
                done = self._run_level([self._bound[n] for n in level if n in needed], values)
                if any(step.failure for step in done):
                    return None
                values.update(self._written(done))
        return _taken(values, self._bound[name].module.reads)

    def run_module(self, name: str, inputs: Mapping[str, Any]) -> ModuleStep:
        """See `BoundProgram.run_module`."""
        bound = self._bound[self._pipeline.module(name).name]
        with dspy.context(adapter=chat_adapter(), disable_history=True, trace=None):
            return self._run_level([bound], _taken(inputs, bound.module.reads))[0]

    def consult(
        self, name: str, role: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """See `BoundProgram.consult`."""
        bound = self._bound[self._pipeline.module(name).name]
        record = {own: outputs[wired] for own, wired in bound.writes if own != REASONING}
        with dspy.context(adapter=chat_adapter(), disable_history=True, trace=None):
            (wide,) = getattr(self, name).predictors()
            members: AskedMembers = wide.members(bound.own_inputs(inputs))
            return members.consult(role, [shown(Answer(None, record))])[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = copy.copy(self)
        memo[id(self)] = copied
        for module in self._pipeline.llm_modules:
            setattr(copied, module.name, copy.deepcopy(getattr(self, module.name), memo))
        copied._memo = None
        return copied

    def _run(self, inputs: Mapping[str, Any]) -> Trace:
        values = _taken(inputs, self._pipeline.inputs)
        steps: list[ModuleStep] = []
        for level in self._pipeline.levels:
            done = self._run_level([self._bound[name] for name in level], values)
            steps.extend(done)
            failed = next((step.failure for step in done if step.failure is not None), None)
            if failed is not None:  # there will be no outputs, so no further call is worth it
                return Trace(tuple(steps), None, failed)
            values.update(self._written(done))
        return Trace(tuple(steps), {field: values[field] for field in self._pipeline.outputs})

    def _written(self, steps: Sequence[ModuleStep]) -> dict[str, Any]:
        """What modules that did not fail wrote for others."""
        return {
            field: (step.outputs or {})[field]
            for step in steps
            for field in self._bound[step.module].module.writes
        }

    def _run_level(
        self, level: Sequence[BoundModule], values: Mapping[str, Any]
    ) -> list[ModuleStep]:
        """The steps of modules that do not wait for each other; those that ask do so together."""
        jobs = [self._job(bound, values) for bound in level]
        asking = [job for job in jobs if job.step is None and job.bound.module.is_llm]
        run_together([partial(self._do, job) for job in asking])
        return [job.step or self._do(job) for job in jobs]

    def _job(self, bound: BoundModule, values: Mapping[str, Any]) -> _Job:
        inputs = {field: values[field] for field in bound.module.reads}
        if self._memo is None:
            return _Job(bound, inputs, None, None)
        key = bound.memo_key(inputs)
        return _Job(bound, inputs, key, None if key is None else self._memo.get(key))

    def _do(self, job: _Job) -> ModuleStep:
        if job.bound.module.is_llm:
            step = _asked(job.bound, job.inputs, getattr(self, job.bound.name))
        else:
            step = _called(job.bound, job.inputs, self._session)
        outage = any(failure.infrastructure for failure in step.failures)
        if self._memo is not None and job.key is not None and not outage:
            self._memo[job.key] = step
        job.step = step
        return step


@dataclass
class _Job:
    """One module's part in one run."""

    bound: BoundModule
    inputs: Mapping[str, Any]
    key: MemoKey | None
    step: ModuleStep | None


def _taken(inputs: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    for field in fields:
        if field not in inputs:
            raise PipelineError(f"the input {field!r} is missing{nearest(field, inputs)}")
    return {field: inputs[field] for field in fields}


def _asked(bound: BoundModule, inputs: Mapping[str, Any], predictor: dspy.Module) -> ModuleStep:
    outputs = failure = None
    with recording() as recorder:
        try:
            outputs = bound.wired_outputs(predictor(**bound.own_inputs(inputs)))
        except Exception as error:
            failure = failure_of(error, recorder.calls, bound.name)
            if failure is None:
                raise
    return ModuleStep(
        module=bound.name,
        inputs=inputs,
        outputs=outputs,
        calls=tuple(recorder.calls),
        latency_s=recorder.latency_s,
        failure=failure,
        after=bound.after,
        agreement=recorder.agreement if failure is None else 0.0,
        members_failed=tuple(f for f in recorder.failures if f is not failure),
    )


def _called(bound: BoundModule, inputs: Mapping[str, Any], session: Session | None) -> ModuleStep:
    outputs = failure = None
    started = time.perf_counter()
    try:
        outputs = bound.call_function(inputs)
    except (Exception, SystemExit) as error:  # what the user's function raises is its failure
        message = f"{type(error).__name__}: {error}"
        failure = Failure("function_error", bound.name, message, infrastructure=False)
    latency_s = first_seconds(
        session, time.perf_counter() - started, bound.code, bound.memo_key(inputs)
    )
    return ModuleStep(bound.name, inputs, outputs, (), latency_s, failure, bound.after)
