"""What the predictors of a running DSPy program receive and return, noted by DSPy's callbacks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from pipelines.failures import failure_of
from pipelines.llms.call_record import Failure, Recorder, recording
from pipelines.llms.engine import GatewayLM
from pipelines.signature import signature_text
from pipelines.trace import ModuleStep

NAME = "_module_name"
"""The attribute that tells a predictor's module, also in copies that a program makes of it."""

_INSIDE: ContextVar[bool] = ContextVar("_INSIDE", default=False)
"""Whether a predictor is running: what it asks in its turn belongs to it."""


class Reached(BaseException):
    """The module was reached that the run was to stop at. No `Exception`: it must get through."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.inputs = inputs


class PastTheGateway(BaseException):
    """The program asks a model in a way that no budget knows of."""


@dataclass
class _Begun:
    """A predictor that is running."""

    place: int
    name: str
    inputs: dict[str, Any]
    fields: list[str]
    recorder: Recorder
    scope: ExitStack


@dataclass
class StepRecorder(BaseCallback):
    """Notes the steps of one run. Safe for threads that carry DSPy's settings."""

    stop_at: str | None = None
    """The module to stop at; see `Reached`."""
    _begun: dict[str, _Begun] = field(default_factory=dict)
    _steps: dict[int, ModuleStep] = field(default_factory=dict)
    _errors: dict[int, BaseException] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def steps(self) -> tuple[ModuleStep, ...]:
        """In the order in which they began, each after the one before: nobody knows better."""
        ordered = [step for _, step in sorted(self._steps.items())]
        before = [(), *((step.module,) for step in ordered)]
        return tuple(replace(s, after=names) for s, names in zip(ordered, before, strict=False))

    def failure_of(self, error: Exception) -> Failure:
        """Why the run brought no outputs: the step that failed of it, or the program's own code."""
        causes = list(_causes(error))
        for place, raised in self._errors.items():
            failure = self._steps[place].failure
            if failure is not None and any(raised is cause for cause in causes):
                return failure
        for cause in causes:
            failure = failure_of(cause, (), "forward") if isinstance(cause, Exception) else None
            if failure is not None:
                return failure
        return program_error("forward", error)

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A module begins; only predictors count, and only those that no other one asks."""
        if not isinstance(instance, dspy.Predict) or _INSIDE.get():
            return
        name = getattr(instance, NAME, None) or _made_in_forward(instance)
        known = instance.signature.input_fields
        given = {k: v for k, v in inputs.get("kwargs", {}).items() if k in known}
        if name == self.stop_at:
            raise Reached(given)
        scope = ExitStack()
        token = _INSIDE.set(True)
        scope.callback(_INSIDE.reset, token)
        recorder = scope.enter_context(recording())
        fields = list(instance.signature.output_fields)
        with self._lock:
            place = len(self._begun)
            self._begun[call_id] = _Begun(place, name, given, fields, recorder, scope)

    def on_module_end(
        self, call_id: str, outputs: Any, exception: BaseException | None = None
    ) -> None:
        """It ends."""
        begun = self._begun.get(call_id)
        if begun is None:
            return
        begun.scope.close()
        failure = None
        if isinstance(exception, Exception):
            known = failure_of(exception, begun.recorder.calls, begun.name)
            failure = known or program_error(begun.name, exception)
            self._errors[begun.place] = exception
        with self._lock:
            self._steps[begun.place] = _step(begun, outputs, failure)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A language model is asked.

        Raises:
            PastTheGateway: it is none of ours.
        """
        if not isinstance(instance, GatewayLM):
            raise PastTheGateway(
                f"it asks {getattr(instance, 'model', instance)!r} past the gateway, so that no "
                "budget would hold: give that LM to a predictor made in __init__, or ask "
                "dspy.settings.lm"
            )


def program_error(module: str, error: BaseException) -> Failure:
    """What the program's own code raised, such as a retriever's error: the config's failure."""
    message = f"{type(error).__name__}: {error}"
    return Failure("program_error", module, message, infrastructure=False)


def outside_step(recorder: Recorder) -> ModuleStep:
    """The calls that the program made itself, without a predictor."""
    return ModuleStep("forward", {}, {}, tuple(recorder.calls), recorder.latency_s)


def _step(begun: _Begun, outputs: Any, failure: Failure | None) -> ModuleStep:
    said = None
    if failure is None and outputs is not None:
        said = {name: outputs.get(name) for name in begun.fields}
    recorder = begun.recorder
    return ModuleStep(
        module=begun.name,
        inputs=begun.inputs,
        outputs=said,
        calls=tuple(recorder.calls),
        latency_s=recorder.latency_s,
        failure=failure,
        agreement=recorder.agreement if failure is None else 0.0,
        members_failed=tuple(f for f in recorder.failures if f != failure),
    )


def _made_in_forward(predictor: dspy.Predict) -> str:
    return f"made in forward ({signature_text(predictor.signature)})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and what was being handled when it was."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        cause = left.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        left += [cause.__cause__, cause.__context__]
        left += cause.exceptions if isinstance(cause, BaseExceptionGroup) else []
