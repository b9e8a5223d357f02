"""A DSPy program bound to a config: a copy whose predictors apply it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dspy

from pipelines.adapters.dspy_programs.calling import (
    FORWARD,
    call_program,
    outputs_of,
    wrong_outputs,
)
from pipelines.adapters.dspy_programs.copying import copy_program
from pipelines.adapters.dspy_programs.inspection.lms import Fallback
from pipelines.adapters.dspy_programs.inspection.places import every_predictor
from pipelines.adapters.dspy_programs.run import PastTheGateway, Run
from pipelines.adapters.dspy_programs.tuned import (
    TunedPredict,
    copied_predictor,
    tuned_predictor,
    untuned_predictor,
)
from pipelines.errors import PipelineError
from pipelines.gateway.call_record import recording
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.programs.adapter import forgiving, reply_adapter
from pipelines.programs.bound_program import BoundProgram, Prediction, Reached, taken
from pipelines.programs.concurrency import Resumable
from pipelines.programs.engine import GatewayLM
from pipelines.programs.members import AskedMembers
from pipelines.programs.memo import Memo
from pipelines.programs.trace import ModuleStep, Trace
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from pipelines.adapters.dspy_programs.pipeline import DSPyPipeline


class BoundDSPyProgram(BoundProgram):
    """A DSPy program bound to a config.

    Every run has a copy of the program, so that what one run leaves behind affects no other.

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
        super().__init__(pipeline, config, models)
        self._pipeline = pipeline
        fallback = pipeline.fallback or Fallback(next(iter(models.values())))
        lm = GatewayLM(fallback.model, session, temperature=fallback.temperature)
        self._settings = {
            **dspy.settings.copy(),
            "adapter": forgiving(pipeline.adapter) if pipeline.adapter else reply_adapter("chat"),
            "lm": lm,
            "disable_history": True,
            "warn_on_type_mismatch": False,
        }
        self._predictors = {
            module.name: tuned_predictor(
                module.predictor, self._bound[module.name], session, lm, memo, pipeline.adapter
            )
            for module in pipeline.modules
        }
        replacing: dict[int, dspy.Predict] = {
            id(module.predictor): self._predictors[module.name] for module in pipeline.modules
        }
        for place, each in every_predictor(pipeline.program):
            if id(each) not in replacing:
                replacing[id(each)] = untuned_predictor(place, each, session)
        self._all = tuple(replacing.values())
        self._program = copy_program(pipeline.program, replacing)

    def resumable(self, inputs: Mapping[str, Any]) -> Resumable[Trace]:
        """See `BoundProgram.resumable`; the program runs as a whole.

        Raises PipelineError if it asks models past the gateway, or changes its predictors.
        """
        yield None
        return self._run(inputs)[0]

    def returned(self, inputs: Mapping[str, Any]) -> Any:
        """What the program itself returns; a plain `dspy.Prediction` becomes one with its
        confidence."""
        trace, returned = self._run(inputs)
        prediction = Prediction.of_trace(trace)
        return prediction if type(returned) is dspy.Prediction else returned

    def _run(self, inputs: Mapping[str, Any]) -> tuple[Trace, Any]:
        """The trace of a run, and what the program returned."""
        run = self._new_run()
        returned = None
        with recording() as outside:
            try:
                returned = self._returned(run, inputs)
                names = self._pipeline.outputs if self._pipeline.declared else ()
                failure = wrong_outputs(self._program, names, returned)
            except PipelineError:
                raise
            except (Exception, SystemExit) as error:  # a script's exit must not end the search
                failure = run.failure_of(error)
        steps = run.steps
        if outside.calls:  # made without a predictor
            steps += (ModuleStep(FORWARD, {}, {}, tuple(outside.calls), outside.latency_s),)
        return Trace(steps, None if failure else outputs_of(returned), failure), returned

    def inputs_of(self, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the module receives when it is first asked; see `BoundProgram.inputs_of`."""
        try:
            self._returned(self._new_run(self._pipeline.module(name).name), inputs)
        except Reached as reached:
            return reached.inputs
        except PipelineError:
            raise
        except (Exception, SystemExit):  # something before it failed: it is not reached
            return None
        return None

    def run_module(self, name: str, inputs: Mapping[str, Any]) -> ModuleStep:
        """See `BoundProgram.run_module`."""
        run = self._new_run()
        predictor = self._in_run(run, self._predictors[self._pipeline.module(name).name])
        try:
            predictor(**inputs)
        except PipelineError:
            raise
        except (Exception, SystemExit):  # it is in the step
            pass
        return run.steps[0]

    @contextmanager
    def _members(self, name: str, inputs: Mapping[str, Any]) -> Iterator[AskedMembers]:
        run = self._new_run()
        with run.entered():
            yield self._in_run(run, self._predictors[name]).members(inputs)

    def _new_run(self, stop_at: str | None = None) -> Run:
        return Run({**self._settings, "trace": []}, stop_at)

    def _returned(self, run: Run, inputs: Mapping[str, Any]) -> Any:
        """What a copy of the program returns; errors as `run`."""
        needed, optional, _ = self._pipeline.arguments
        given = taken(inputs, needed) | {name: inputs[name] for name in optional if name in inputs}
        own = {id(each): self._in_run(run, each) for each in self._all}
        program = copy_program(self._program, own)
        try:
            with run.entered():
                returned = call_program(program, given)
        except Exception:
            if run.ended is None:
                raise
        except PastTheGateway:
            pass
        if isinstance(run.ended, PastTheGateway):
            raise PipelineError(f"program {self._pipeline.name!r}: {run.ended}") from None
        if run.ended is not None:
            raise run.ended
        self._check_unchanged(program, own)
        return returned

    def _in_run(self, run: Run, predictor: dspy.Predict) -> Any:
        copied = copied_predictor(predictor)
        copied.run = run
        return copied

    def _check_unchanged(self, program: dspy.Module, own: Mapping[int, dspy.Predict]) -> None:
        """A config means nothing for a program that sets its predictors' knobs itself."""
        there = {id(each) for _, each in every_predictor(program)}
        for name, bound in self._predictors.items():
            predictor = own[id(bound)]
            if not isinstance(predictor, TunedPredict) or not predictor.is_as_bound:
                raise PipelineError(
                    f"program {self._pipeline.name!r} changes its predictor {name!r} while it "
                    "runs (its signature, demos, config or lm): what is tuned would not be what "
                    "runs; make the change in __init__, or hand the values to forward"
                )
            if id(predictor) not in there:
                raise PipelineError(
                    f"program {self._pipeline.name!r} replaces its predictor {name!r} while it "
                    "runs, so that it can't be tuned; make it in __init__"
                )
