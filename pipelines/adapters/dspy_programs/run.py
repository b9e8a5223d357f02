"""One run of a DSPy program: records what its predictors receive and return."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Self

import dspy
from dspy.utils.callback import BaseCallback

from pipelines.adapters.dspy_programs.calling import program_error, why_it_failed
from pipelines.adapters.dspy_programs.quiet import IN_RUNS, quiet
from pipelines.errors import PipelineError
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.call_record import Failure, Recorder, recording
from pipelines.modules.signature import signature_text
from pipelines.programs.bound_program import Reached
from pipelines.programs.engine import GatewayLM
from pipelines.programs.failures import failure_of
from pipelines.programs.trace import ModuleStep

NAME = "_module_name"
"""The attribute with a predictor's module; copies that the program makes keep it."""

_INSIDE: ContextVar[bool] = ContextVar("_INSIDE", default=False)
"""Whether a predictor is running: calls of predictors within it are part of its step."""


class PastTheGateway(BaseException):
    """The program asks a model past the gateway and its budget."""


_ENDING = (BudgetExhausted, PastTheGateway, PipelineError, Reached)
"""What ends a run, even if the program's code catches it."""


@dataclass
class Visit:
    """A predictor that is running, or has run."""

    returned: Any = None
    """What it returned."""
    raised: BaseException | None = None
    step: ModuleStep | None = None
    """None until it has ended."""

    @property
    def is_shareable(self) -> bool:
        """Whether waiting runs may share it: it ended, and not by an error from elsewhere."""
        step, raised = self.step, self.raised
        if step is not None and isinstance(raised, Exception):
            return failure_of(raised, step.calls, step.module) is not None
        return step is not None and raised is None

    @property
    def lasts(self) -> bool:
        """Whether the memo may keep it: it met no outage."""
        return self.step is None or self.step.lasts()

    def copied(self) -> Visit:
        """A copy: programs write into predictions, and raising an error writes into it."""
        error = self.raised
        raised = None
        if error is not None:
            raised = type(error).__new__(type(error), *error.args)
            vars(raised).update(vars(error))
            raised.__cause__ = error.__cause__
        return Visit(copy.deepcopy(self.returned), raised, self.step)


@dataclass(eq=False)
class Run(BaseCallback):
    """Records the steps of one run, in any thread.

    The program's own predictors report their steps; predictors made in `forward`, and language
    models, are observed through DSPy's callbacks.
    """

    settings: Mapping[str, Any]
    """DSPy's, for this run."""
    stop_at: str | None = None
    """The module to stop at; see `Reached`."""
    ended: BaseException | None = None
    """What ended the run, even if the program caught it."""
    _begun: int = 0
    _steps: dict[int, ModuleStep] = field(default_factory=dict)
    _raised: dict[int, BaseException] = field(default_factory=dict)
    _open: dict[str, tuple[Visit, ExitStack]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def steps(self) -> tuple[ModuleStep, ...]:
        """In the order in which they began, each taken to depend on the one before."""
        ordered = [step for _, step in sorted(self._steps.items())]
        before = [(), *((step.module,) for step in ordered)]
        return tuple(replace(s, after=names) for s, names in zip(ordered, before, strict=False))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Context with DSPy's settings of this run, also in threads that the program starts."""
        if any(each is self for each in dspy.settings.callbacks):
            yield
            return
        callbacks = [*self.settings["callbacks"], self]
        with dspy.context(**{**self.settings, "callbacks": callbacks}), quiet(*IN_RUNS):
            yield

    def failure_of(self, error: Exception | SystemExit) -> Failure:
        """Why the run brought no outputs: a step that failed, or the program's own code."""
        failed = [(self._raised.get(place), step) for place, step in self._steps.items()]
        return why_it_failed(error, failed)

    @contextmanager
    def step(
        self, predictor: dspy.Predict, given: Mapping[str, Any], visit: Visit
    ) -> Iterator[None]:
        """Context in which the predictor runs; fills in the visit's step and error. Raises Reached
        if it is the one to stop at."""
        made_there = f"made in forward ({signature_text(predictor.signature)})"
        name = getattr(predictor, NAME, None) or made_there
        inputs = {k: v for k, v in given.items() if k in predictor.signature.input_fields}
        place = self._begin(name, inputs)
        token = _INSIDE.set(True)
        try:
            with recording() as recorder:
                yield
        except BaseException as error:
            visit.raised = error
            self._note(error)
            raise
        finally:
            _INSIDE.reset(token)
            fields = list(predictor.signature.output_fields)
            visit.step = _step(name, inputs, fields, visit, recorder)
            self._end(place, visit.step, visit.raised)

    def check_lm(self, predictor: str) -> None:
        """Raises PastTheGateway if the program chooses a predictor's model by
        `dspy.context(lm=...)`."""
        if dspy.settings.lm is not self.settings["lm"]:
            self.ended = PastTheGateway(
                f"it asks its predictor {predictor!r} within dspy.context(lm=...), so that no "
                "config can choose its model: give that LM to the predictor in __init__"
            )
            raise self.ended

    def repeat(self, visit: Visit) -> None:
        """Record a step that was taken in another run. Raises Reached if the run stops at it."""
        if visit.step is not None:
            self._end(self._begin(visit.step.module, visit.step.inputs), visit.step, visit.raised)

    @property
    def is_inside(self) -> bool:
        """Whether a predictor is running here."""
        return _INSIDE.get()

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """DSPy calls this when a module begins; tuned predictors report their steps themselves."""
        if isinstance(instance, dspy.Predict) and not _INSIDE.get():
            visit, scope = Visit(), ExitStack()
            scope.enter_context(self.step(instance, inputs.get("kwargs", {}), visit))
            self._open[call_id] = visit, scope

    def on_module_end(
        self, call_id: str, outputs: Any, exception: BaseException | None = None
    ) -> None:
        """DSPy calls this when a module ends."""
        if call_id in self._open:
            visit, scope = self._open.pop(call_id)
            visit.returned = outputs
            scope.__exit__(type(exception) if exception else None, exception, None)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """DSPy calls this when a model is asked; raises PastTheGateway unless it is of the
        gateway."""
        if not isinstance(instance, GatewayLM):
            self.ended = PastTheGateway(
                f"it asks {getattr(instance, 'model', instance)!r} past the gateway, so that no "
                "budget would hold: give that LM to a predictor made in __init__, or ask "
                "dspy.settings.lm"
            )
            raise self.ended

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """DSPy calls this when a language model answered, or failed."""
        if exception is not None:
            self._note(exception)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copies that a program makes of its predictors belong to the same run."""
        return self

    def _begin(self, name: str, inputs: Mapping[str, Any]) -> int:
        if self.ended is not None:
            raise self.ended
        if name == self.stop_at:
            self.ended = Reached(inputs)
            raise self.ended
        with self._lock:
            self._begun += 1
            return self._begun

    def _end(self, place: int, step: ModuleStep, raised: BaseException | None) -> None:
        self._steps[place] = step
        if raised is not None:
            self._raised[place] = raised

    def _note(self, error: BaseException) -> None:
        if isinstance(error, _ENDING):
            self.ended = error


def _step(
    name: str, inputs: Mapping[str, Any], fields: list[str], visit: Visit, recorder: Recorder
) -> ModuleStep:
    failure, raised = None, visit.raised
    if isinstance(raised, Exception | SystemExit):
        failure = failure_of(raised, recorder.calls, name) or program_error(name, raised)
    elif raised is not None:  # asyncio's cancellation, for one
        failure = Failure("cancelled", name, repr(raised), infrastructure=False)
    outputs = None
    if isinstance(visit.returned, dspy.Example):
        outputs = {field: visit.returned.get(field) for field in fields}
    return ModuleStep(
        module=name,
        inputs=inputs,
        outputs=outputs,
        calls=tuple(recorder.calls),
        latency_s=recorder.latency_s,
        failure=failure,
        agreement=recorder.agreement if failure is None else 0.0,
        members_failed=tuple(f for f in recorder.failures if f != failure),
    )
