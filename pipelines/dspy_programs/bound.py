"""A DSPy program bound to a config: a copy whose predictors ask what the config says."""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import dspy

from pipelines.adapter import chat_adapter
from pipelines.aggregators import Answer
from pipelines.aggregators.judging import shown
from pipelines.bind_modules import bind_modules
from pipelines.binding import BoundModule
from pipelines.config_checks import check_config
from pipelines.dspy_programs.arguments import entry_point
from pipelines.dspy_programs.lms import as_model
from pipelines.dspy_programs.predictors import copy_program, every_predictor
from pipelines.dspy_programs.steps import (
    NAME,
    PastTheGateway,
    Reached,
    StepRecorder,
    outside_step,
)
from pipelines.errors import PipelineError
from pipelines.failures import ModuleFailed
from pipelines.llms.call_record import recording
from pipelines.llms.engine import GatewayLM
from pipelines.prediction import Prediction
from pipelines.predictors import WidePredict, member_lm, wide_predictor
from pipelines.signature import REASONING, fresh_signature
from pipelines.trace import ModuleStep, Trace
from search_spaces import PipelineConfig
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    from pipelines.dspy_programs.pipeline import DSPyPipeline
    from pipelines.llms.gateway import Session
    from pipelines.llms.model import Model
    from pipelines.tunable import Memo


class BoundDSPyProgram:
    """See `pipelines.tunable.BoundProgram`.

    Raises:
        PipelineError: the config does not fit the program.
    """

    def __init__(
        self,
        pipeline: DSPyPipeline,
        config: PipelineConfig,
        models: Mapping[str, Model],
        session: Session,
        memo: Memo | None = None,
    ) -> None:
        check_config(pipeline.modules, config, models)
        self._pipeline = pipeline
        self._bound = bind_modules(pipeline, config, models)
        self._predictors = {
            module.name: _prepared(module.predictor, self._bound[module.name], session, memo)
            for module in pipeline.modules
        }
        default = pipeline.default or next(iter(models.values()))
        stand_ins = {
            id(module.predictor): self._predictors[module.name] for module in pipeline.modules
        }
        for place, each in every_predictor(pipeline.program):
            stand_ins.setdefault(id(each), _untuned(place, each, default, session))
        self._program = copy_program(pipeline.program, stand_ins)
        self._settings = {
            "adapter": pipeline.adapter or chat_adapter(),
            "lm": GatewayLM(default, session),
            "disable_history": True,
        }
        self._states = {name: _state(each) for name, each in self._predictors.items()}

    @property
    def bound(self) -> Mapping[str, BoundModule]:
        """The modules with their configs and sample indices, by name."""
        return self._bound

    @cached_property
    def wide(self) -> frozenset[str]:
        """The modules that have several members."""
        return frozenset(name for name, bound in self._bound.items() if len(bound.models) > 1)

    def run(self, inputs: Mapping[str, Any]) -> Trace:
        """See `BoundProgram.run`.

        Raises:
            PipelineError: an input is missing; or the program asks models past the gateway,
                returns what is no prediction, or changes its predictors.
        """
        recorder = StepRecorder()
        outputs, failure = None, None
        with recording() as outside:
            try:
                outputs = self._outputs(recorder, inputs)
            except PipelineError:
                raise
            except Exception as error:
                failure = recorder.failure_of(error)
        self._check_unchanged()
        steps = recorder.steps
        if outside.calls:
            steps = (*steps, outside_step(outside))
        return Trace(steps, outputs, failure)

    def prediction_of(self, inputs: Mapping[str, Any]) -> dspy.Prediction:
        """See `BoundProgram.prediction_of`."""
        trace = self.run(inputs)
        if trace.failure is not None:
            raise ModuleFailed(trace.failure)
        return Prediction.of(trace.outputs or {}, trace.confidence)

    def inputs_of(self, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the module receives when it is first asked; see `BoundProgram.inputs_of`."""
        module = self._pipeline.module(name).name
        try:
            self._outputs(StepRecorder(stop_at=module), inputs)
        except Reached as reached:
            return reached.inputs
        except PipelineError:
            raise
        except Exception:  # something before it failed: it is not reached
            return None
        return None

    def run_module(self, name: str, inputs: Mapping[str, Any]) -> ModuleStep:
        """See `BoundProgram.run_module`."""
        predictor = self._predictors[self._pipeline.module(name).name]
        recorder = StepRecorder()
        try:
            self._within(recorder, partial(predictor, **inputs))
        except PipelineError:
            raise
        except Exception:  # the recorder has noted it
            pass
        return recorder.steps[0]

    def consult(
        self, name: str, role: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """See `BoundProgram.consult`."""
        wide = self._predictors[self._pipeline.module(name).name]
        if not isinstance(wide, WidePredict):
            raise PipelineError(f"module {name!r} is asked once, so that it consults nobody")
        record = {field: value for field, value in outputs.items() if field != REASONING}
        with dspy.context(**self._settings, trace=None):
            return wide.members(inputs).consult(role, [shown(Answer(None, record))])[0]

    def _outputs(self, recorder: StepRecorder, inputs: Mapping[str, Any]) -> dict[str, Any]:
        taken = self._taken(inputs)
        name = type(self._program).__name__
        try:
            said = self._within(recorder, partial(_call, self._program, taken))
        except PastTheGateway as error:
            raise PipelineError(f"program {name}: {error}") from None
        if isinstance(said, dspy.Example):  # a Prediction is one
            return dict(said.items())
        if not isinstance(said, Mapping):
            raise PipelineError(
                f"{name}.{entry_point(self._program)} must return a dspy.Prediction, or a mapping "
                f"of outputs, but returned {said!r}"
            )
        return dict(said)

    def _within(self, recorder: StepRecorder, call: Callable[[], Any]) -> Any:
        callbacks = [*dspy.settings.callbacks, recorder]
        with dspy.context(**self._settings, trace=None, callbacks=callbacks):
            return call()

    def _taken(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        arguments = self._pipeline.arguments
        for name in arguments.needed:
            if name not in inputs:
                raise PipelineError(f"the input {name!r} is missing{nearest(name, inputs)}")
        known = {*arguments.needed, *arguments.optional}
        return {name: value for name, value in inputs.items() if name in known}

    def _check_unchanged(self) -> None:
        """A config means nothing for a program that sets its predictors' knobs itself."""
        for name, predictor in self._predictors.items():
            if _state(predictor) != self._states[name]:
                raise PipelineError(
                    f"program {self._pipeline.name!r} changes its predictor {name!r} while it "
                    "runs (its signature, demos or lm): what is tuned would not be what runs; "
                    "make the change in __init__, or hand the values to forward"
                )
        there = {id(each) for _, each in every_predictor(self._program)}
        gone = [name for name, each in self._predictors.items() if id(each) not in there]
        if gone:
            raise PipelineError(
                f"program {self._pipeline.name!r} replaces its predictor {gone[0]!r} while it "
                "runs, so that it can't be tuned; make it in __init__"
            )


def _call(program: dspy.Module, inputs: Mapping[str, Any]) -> Any:
    """Run it; one that is only asynchronous gets an event loop of its own."""
    if entry_point(program) == "forward":
        return program(**inputs)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(program.acall(**inputs))
    context = contextvars.copy_context()  # in a notebook's thread a loop is running already
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(context.run, asyncio.run, program.acall(**inputs)).result()


def _prepared(
    predictor: dspy.Predict, bound: BoundModule, session: Session, memo: Memo | None
) -> dspy.Predict:
    """A copy of the predictor with the config's knobs."""
    signature = fresh_signature(bound.module.signature, bound.config.instructions)
    prepared = _copied(predictor)
    prepared.signature = signature
    prepared.lm = member_lm(bound, session, 0)
    prepared.demos = [dspy.Example(**demo) for demo in bound.config.demos]
    prepared.config = {k: v for k, v in predictor.config.items() if k != "temperature"}
    if len(bound.models) > 1:
        asked = prepared
        forward = type(asked).forward
        prepared = wide_predictor(
            bound, session, signature, memo, lambda lm, inputs: forward(asked, **inputs, lm=lm)
        )
        prepared.demos, prepared.config, prepared.fields = asked.demos, asked.config, asked.fields
    setattr(prepared, NAME, bound.name)
    return prepared


def _untuned(place: str, predictor: dspy.Predict, default: Model, session: Session) -> dspy.Predict:
    """A predictor that DSPy does not name: it stays as it is, but asks through the gateway."""
    untuned = _copied(predictor)
    lm = predictor.lm
    if lm is not None:
        model = as_model(lm, f"predictor {place!r}")
        untuned.lm = GatewayLM(model, session, temperature=lm.kwargs.get("temperature"))
    setattr(untuned, NAME, place)
    return untuned


def _copied(predictor: dspy.Predict) -> dspy.Predict:
    copied = copy.copy(predictor)
    copied.callbacks = list(predictor.callbacks)
    copied.traces, copied.train, copied.demos = [], [], list(predictor.demos)
    return copied


def _state(predictor: dspy.Predict) -> tuple[Any, ...]:
    """What a config sets; changed, if it is not the same."""
    return (id(predictor.signature), id(predictor.lm), tuple(map(id, predictor.demos)))
