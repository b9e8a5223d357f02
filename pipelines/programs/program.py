"""A pipeline bound to a config: a `dspy.Module` that runs and leaves a trace."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import dspy

from pipelines.gateway.call_record import recording
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.programs.adapter import reply_adapter
from pipelines.programs.binding import BoundModule
from pipelines.programs.bound_program import BoundProgram, Prediction, taken
from pipelines.programs.concurrency import Resumable, finish
from pipelines.programs.failures import failure_of
from pipelines.programs.members import AskedMembers
from pipelines.programs.memo import Memo
from pipelines.programs.own_time import first_seconds
from pipelines.programs.parsed import ParsedOutputs
from pipelines.programs.predictors import make_predictor
from pipelines.programs.provisional import Listener, listening
from pipelines.programs.trace import Failure, ModuleStep, Trace
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from pipelines.spec.pipeline import Pipeline


class Program(dspy.Module, BoundProgram):
    """A pipeline ready to run, safe for threads; made by `Pipeline.bind`.

    Its predictors are attributes named as the modules. The memo answers for a module whose
    config, sample indices and inputs it has seen; it belongs to one pipeline and one set of
    models, and does not see later edits of predictors, so copies have none.

    Raises:
        PipelineError: the config does not fit the pipeline.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        config: PipelineConfig,
        models: Mapping[str, Model],
        session: Session | None,
        memo: Memo | None = None,
    ) -> None:
        dspy.Module.__init__(self)
        BoundProgram.__init__(self, pipeline, config, models)
        self._pipeline = pipeline
        self._memo = memo
        self._session = session
        self._parsed: dict[str, ParsedOutputs] = {}
        for module in pipeline.llm_modules:
            assert session is not None  # `bind` has checked
            bound = self._bound[module.name]
            setattr(self, module.name, make_predictor(bound, session, memo))
            if memo is not None and len(bound.models) == 1:
                self._parsed[module.name] = ParsedOutputs(bound, 0, session)

    def resumable(self, inputs: Mapping[str, Any]) -> Resumable[Trace]:
        """See `BoundProgram.resumable`."""
        return self._run(inputs, _untraced)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The pipeline's outputs, as DSPy's optimizers and users want them.

        Raises:
            ModuleFailed: a module brought no outputs.
            PipelineError: an input is missing.
        """
        return Prediction.of_trace(finish(self._run(inputs, _traced)))

    def reporting(self, inputs: Mapping[str, Any], report: Callable[[Prediction], object]) -> Trace:
        """See `BoundProgram.reporting`."""
        return finish(self._run(inputs, _untraced, report))

    def prediction_of(self, inputs: Mapping[str, Any]) -> dspy.Prediction:
        """See `BoundProgram.prediction_of`."""
        prediction: dspy.Prediction = self(**inputs)
        return prediction

    def inputs_of(self, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See `BoundProgram.inputs_of`."""
        values = taken(inputs, self._pipeline.inputs)
        needed = self._pipeline.before(name)
        for level in self._pipeline.levels:
            before = [self._bound[n] for n in level if n in needed]
            done = finish(self._run_level(before, values, _untraced, threading.Lock()))
            if any(step.failure for step in done):
                return None
            values.update(self._written(done))
        return taken(values, self._bound[name].module.reads)

    def run_module(self, name: str, inputs: Mapping[str, Any]) -> ModuleStep:
        """See `BoundProgram.run_module`."""
        bound = self._bound[self._pipeline.module(name).name]
        values = taken(inputs, bound.module.reads)
        return finish(self._run_level([bound], values, _untraced, threading.Lock()))[0]

    @contextmanager
    def _members(self, name: str, inputs: Mapping[str, Any]) -> Iterator[AskedMembers]:
        with _untraced():
            (wide,) = getattr(self, name).predictors()
            yield wide.members(self._bound[name].own_inputs(inputs))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = copy.copy(self)
        memo[id(self)] = copied
        for module in self._pipeline.llm_modules:
            setattr(copied, module.name, copy.deepcopy(getattr(self, module.name), memo))
        copied._memo = None
        copied._parsed = {}
        return copied

    def _run(
        self,
        inputs: Mapping[str, Any],
        settings: _Settings,
        report: Callable[[Prediction], object] | None = None,
    ) -> Resumable[Trace]:
        values = taken(inputs, self._pipeline.inputs)
        steps: list[ModuleStep] = []
        functions = threading.Lock()
        if report is not None:
            listener = partial(self._report, report, values, steps, functions)
            settings = partial(_with_listener, settings, listener)
        for level in self._pipeline.levels:
            bound = [self._bound[name] for name in level]
            done = yield from self._run_level(bound, values, settings, functions)
            steps.extend(done)
            failed = next((step.failure for step in done if step.failure is not None), None)
            if failed is not None:  # there will be no outputs, so further calls would be wasted
                return Trace(tuple(steps), None, failed)
            values.update(self._written(done))
        return Trace(tuple(steps), {field: values[field] for field in self._pipeline.outputs})

    def _report(
        self,
        report: Callable[[Prediction], object],
        values: Mapping[str, Any],
        steps: Sequence[ModuleStep],
        functions: threading.Lock,
        path: str,
        record: Mapping[str, Any],
        agreement: float,
    ) -> None:
        """Report what a run that got so far returns if this is the outcome of a module.

        The run may go on meanwhile; functions are called within `functions`, one at a time.
        """
        if path not in self._bound:  # an aggregator consults it
            return
        found = {**values, **self._bound[path].wired_outputs(record)}
        if any(step.module == path for step in steps):  # it has its final outcome by now
            return
        for name in chain.from_iterable(self._pipeline.levels):
            bound = self._bound[name]
            ready = found.keys() >= set(bound.module.reads)
            if ready and not bound.module.is_llm and not found.keys() >= set(bound.module.writes):
                try:
                    with functions:
                        found.update(bound.call_function(taken(found, bound.module.reads)))
                except (Exception, SystemExit):  # if it fails on the final answer, that is shown
                    return
        if found.keys() >= set(self._pipeline.outputs):
            outputs = {field: found[field] for field in self._pipeline.outputs}
            confidence = min((agreement, *(step.agreement for step in steps)))
            report(Prediction.of(outputs, confidence, is_final=False))

    def _written(self, steps: Sequence[ModuleStep]) -> dict[str, Any]:
        """The outputs of modules that did not fail."""
        return {
            field: (step.outputs or {})[field]
            for step in steps
            for field in self._bound[step.module].module.writes
        }

    def _run_level(
        self,
        level: Sequence[BoundModule],
        values: Mapping[str, Any],
        settings: _Settings,
        functions: threading.Lock,
    ) -> Resumable[list[ModuleStep]]:
        """The steps of independent modules; those that ask models run concurrently, functions
        within `functions`."""
        memo = Memo() if self._memo is None else self._memo
        asking: dict[Any, Callable[[], ModuleStep]] = {}
        calling: dict[Any, Callable[[], ModuleStep]] = {}
        for bound in level:
            inputs = {field: values[field] for field in bound.module.reads}
            key = None if self._memo is None else bound.memo_key(inputs)
            makers = asking if bound.module.is_llm else calling
            makers[key or object()] = partial(self._step, bound, inputs, settings, functions)
        steps = yield from memo.make(asking, ModuleStep.lasts)
        for key, maker in calling.items():  # a user's function need not be safe for threads
            steps.update((yield from memo.make({key: maker}, ModuleStep.lasts)))
        by_module = {step.module: step for step in steps.values()}
        return [by_module[bound.name] for bound in level]

    def _step(
        self,
        bound: BoundModule,
        inputs: Mapping[str, Any],
        settings: _Settings,
        functions: threading.Lock,
    ) -> ModuleStep:
        if not bound.module.is_llm:
            with functions:
                return _called(bound, inputs, self._session)
        with settings():
            return _asked(bound, inputs, getattr(self, bound.name), self._parsed.get(bound.name))


_Settings = Callable[[], AbstractContextManager[None]]
"""DSPy's, within which a module asks."""


def _traced(**more: Any) -> AbstractContextManager[None]:
    context: AbstractContextManager[None] = dspy.context(
        adapter=reply_adapter("chat"), disable_history=True, **more
    )
    return context


_untraced = partial(_traced, trace=None)


@contextmanager
def _with_listener(settings: _Settings, listener: Listener) -> Iterator[None]:
    with settings(), listening(listener):
        yield


def _asked(
    bound: BoundModule,
    inputs: Mapping[str, Any],
    predictor: dspy.Module,
    parsed: ParsedOutputs | None,
) -> ModuleStep:
    own = bound.own_inputs(inputs)
    ask = partial(predictor, **own)
    outputs = failure = None
    with recording() as recorder:
        try:
            outputs = bound.wired_outputs(parsed.get_or_ask(own, ask) if parsed else ask())
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
