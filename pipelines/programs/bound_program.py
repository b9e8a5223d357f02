"""The base class of pipelines that are bound to a config, and their predictions."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import dspy

from pipelines.aggregators import Answer
from pipelines.errors import PipelineError
from pipelines.gateway.model import Model
from pipelines.modules.signature import REASONING
from pipelines.programs.binding import Binder, BoundModule
from pipelines.programs.concurrency import Resumable, begin, finish
from pipelines.programs.failures import ModuleFailed
from pipelines.programs.members import AskedMembers
from pipelines.programs.trace import ModuleStep, Trace
from pipelines.spec.config_checks import check_config
from pipelines.spec.tunable import Tunable
from search_spaces import PipelineConfig
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    from pipelines.gateway.gateway import Session


class BoundProgram:
    """A pipeline bound to a config, ready to run; safe for threads.

    Raises:
        PipelineError: the config does not fit the pipeline.
    """

    def __init__(
        self, pipeline: Tunable, config: PipelineConfig, models: Mapping[str, Model]
    ) -> None:
        check_config(pipeline.modules, config, models)
        self._bound = Binder(pipeline, models).bind(config)

    @property
    def bound(self) -> Mapping[str, BoundModule]:
        """The modules with their configs and sample indices, by name."""
        return self._bound

    @cached_property
    def wide(self) -> frozenset[str]:
        """The modules that have several members."""
        return frozenset(name for name, bound in self._bound.items() if len(bound.models) > 1)

    def run(self, inputs: Mapping[str, Any]) -> Trace:
        """Run on one example's inputs, by the pipeline's field names; others are ignored.

        A failure is in the trace and never raised; only `BudgetExhausted` passes through.

        Raises:
            PipelineError: an input is missing.
        """
        return finish(self.resumable(inputs))

    @abstractmethod
    def resumable(self, inputs: Mapping[str, Any]) -> Resumable[Trace]:
        """As `run`, pausing where a step is to be taken, or is being taken by another run."""

    def reporting(self, inputs: Mapping[str, Any], report: Callable[[Prediction], object]) -> Trace:
        """As `run`; where a pipeline of modules ends in a wide one whose aggregator has an answer
        before it has the last word, `report` gets predictions that are not `final`. Only those can
        be made that need no further call: functions run on them, and what they raise drops them.
        """
        return self.run(inputs)

    def stream(self, inputs: Mapping[str, Any], session: Session | None) -> Iterator[Prediction]:
        """See `Tunable.stream`; the session is cancelled if the iterator is closed early."""
        coming: SimpleQueue[Prediction | None] = SimpleQueue()
        run = begin(partial(self.reporting, inputs, coming.put))
        run.add_done_callback(lambda _: coming.put(None))
        try:
            while (prediction := coming.get()) is not None:
                yield prediction
        finally:
            if session is not None and not run.done():
                session.cancel()
        yield Prediction.of_trace(run.result())

    async def arun(self, inputs: Mapping[str, Any], session: Session | None) -> dspy.Prediction:
        """See `Tunable.arun`; the session is cancelled if the task is."""
        run = begin(partial(self.prediction_of, inputs))
        try:
            return await asyncio.wrap_future(run)
        finally:
            if session is not None and not run.done():
                session.cancel()

    def prediction_of(self, inputs: Mapping[str, Any]) -> dspy.Prediction:
        """The pipeline's outputs on one example's inputs.

        Raises:
            ModuleFailed: a module brought no outputs.
            PipelineError: an input is missing.
        """
        return Prediction.of_trace(self.run(inputs))

    @abstractmethod
    def inputs_of(self, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What one module receives on one example, by running only what comes before it.

        None where it is not reached: what comes before it failed, or went another way.
        """

    @abstractmethod
    def run_module(self, name: str, inputs: Mapping[str, Any]) -> ModuleStep:
        """Run one module on what it received, such as a step's `inputs`.

        Raises:
            PipelineError: there is no such module, or an input is missing.
        """

    def consult(
        self, name: str, role: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """The reply of a consulted module about one answer; None if it fails.

        Args:
            name: the wide module.
            role: of its aggregator, one that sees a single candidate.
            inputs: what the module received, as its steps have it.
            outputs: the answer, as its steps have it.

        Raises:
            PipelineError: the module has a single member, and so no aggregator.
        """
        if name not in self.wide:
            raise PipelineError(f"module {name!r} has one member and so no aggregator to consult")
        writes = self._bound[name].writes
        record = {own: outputs[wired] for own, wired in writes if own != REASONING}
        with self._members(name, inputs) as members:
            return members.consult(role, [Answer(None, record).shown])[0]

    def _members(
        self, name: str, inputs: Mapping[str, Any]
    ) -> AbstractContextManager[AskedMembers]:
        """The members of a wide module on these inputs, and the settings to ask them with."""
        raise NotImplementedError


class Reached(BaseException):
    """A run has reached the module to stop at. No `Exception`: programs catch these."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__("it was run up to here only")
        self.inputs = inputs


def taken(inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The inputs of these names. Raises PipelineError if one is missing."""
    for name in names:
        if name not in inputs:
            raise PipelineError(f"the input {name!r} is missing{nearest(name, inputs)}")
    return {name: inputs[name] for name in names}


class Prediction(dspy.Prediction):
    """A `dspy.Prediction` of the pipeline's outputs that also knows its confidence."""

    _agreement = 1.0
    _is_final = True

    @classmethod
    def of_trace(cls, trace: Trace, cause: BaseException | None = None) -> Prediction:
        """The outputs of a run; raises ModuleFailed, from the cause, if it has none."""
        if trace.failure is not None:
            raise ModuleFailed(trace.failure) from cause
        return cls.of(trace.outputs or {}, trace.confidence)

    @classmethod
    def of(
        cls, outputs: Mapping[str, Any], agreement: float, *, is_final: bool = True
    ) -> Prediction:
        """These outputs, with that confidence."""
        made = cls(**outputs)
        made._agreement, made._is_final = agreement, is_final
        return made

    def copy(self, **changed: Any) -> Prediction:
        """A copy with some outputs changed and the same confidence."""
        made: Prediction = super().copy(**changed)
        made._agreement, made._is_final = self._agreement, self._is_final
        return made

    @property
    def confidence(self) -> Any:
        """Share in [0, 1] of the members that agreed, in the wide module where fewest did.

        1 where no module is wide. Before a prediction is `final`, members that have not answered
        count as not agreeing. An output field of this name takes precedence.
        """
        return self["confidence"] if "confidence" in self.keys() else self._agreement

    @property
    def final(self) -> Any:
        """Whether nothing better comes after it; `Pipeline.stream` yields others before.

        An output field of this name takes precedence.
        """
        return self["final"] if "final" in self.keys() else self._is_final
