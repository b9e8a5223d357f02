"""One run of the user's code: sends its calls to the gateway, and records its steps."""

from __future__ import annotations

import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn

from pipelines.adapters.entrances.askers import RunEnded
from pipelines.adapters.entrances.chat_request import ChatRequest, RefusedRequest
from pipelines.gateway.call import CallFailed, LMCall, LMReply
from pipelines.gateway.call_record import CallRecord
from pipelines.gateway.gateway import Session
from pipelines.programs.binding import BoundModule
from pipelines.programs.bound_program import Reached
from pipelines.programs.concurrency import run_together
from pipelines.programs.trace import Failure, ModuleStep
from search_spaces.refusals import nearest


@dataclass
class Run:
    """Sends the code's calls through the gateway, and records them. Safe for threads."""

    bound: Mapping[str, BoundModule]
    session: Session
    stop_at: str | None = None
    """The module to stop at; see `Reached`."""
    ended: BaseException | None = None
    """Why it can't go on: raised when the code is done, even if the code caught it."""
    _steps: list[ModuleStep | None] = field(default_factory=list)
    """In the order in which they began; None while they go on."""
    _failed: dict[str, CallFailed] = field(default_factory=dict)
    """By the calls' keys. They were retried: asked again, they fail again at once."""
    _samples: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By the keys of equal calls, the sample indices that they have used."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def steps(self) -> tuple[ModuleStep, ...]:
        """Each is taken to depend on the one before; the real dependencies are unknown."""
        steps: list[ModuleStep] = []
        for step in filter(None, self._steps):
            steps.append(replace(step, after=(steps[-1].module,)) if steps else step)
        return tuple(steps)

    @property
    def is_asking(self) -> bool:
        """Whether calls are in flight."""
        return None in self._steps

    def ask(self, module: str, request: ChatRequest) -> list[LMReply]:
        """See `Asker.ask`; each reply is a step."""
        if self.ended is not None:
            raise RunEnded(str(self.ended))
        if module not in self.bound:
            raise RefusedRequest(f"there is no module {module!r}{nearest(module, self.bound)}")
        if module == self.stop_at:
            self._end(Reached(request.inputs))
        once = replace(request, count=1)
        calls = [self._call(module, once) for _ in range(request.count)]
        return run_together([partial(self._reply, module, once, call) for call in calls])

    def failure_of(self, error: Exception | SystemExit, code: str) -> Failure:
        """Why there are no outputs: an outage, another failed call, or the code itself.

        Clients wrap failures in their own exceptions, which do not identify the call. An outage
        takes precedence: errors that follow from it must not count against the config.
        """
        failures = [step.failure for step in self.steps if step.failure]
        failures.sort(key=lambda failure: not failure.infrastructure)
        if failures:
            return failures[0]
        message = f"{type(error).__name__}: {error}"
        return Failure("program_error", code, message, infrastructure=False)

    def _call(self, module: str, request: ChatRequest) -> LMCall:
        """The call; an equal one made before counts as its previous draw, unless it has a seed."""
        bound = self.bound[module]
        call = request.call(bound.models[0], bound.config.temperature, bound.config.params)
        if request.seed is not None or call.temperature == 0:  # at 0 a model has one answer
            return call
        with self._lock:
            used = self._samples[call.key]
            sample = next(n for n in itertools.count() if n not in used)
            used.add(sample)
        return replace(call, sample=sample)

    def _reply(self, module: str, request: ChatRequest, call: LMCall) -> LMReply:
        with self._lock:
            place = len(self._steps)
            self._steps.append(None)
        step = ModuleStep(module, request.inputs, None, (), 0.0)
        try:
            reply = self._answered(call)
            record = CallRecord.of(call, reply)
            outputs = {"reply": _shown(reply)}
            step = replace(step, outputs=outputs, calls=(record,), latency_s=reply.latency_s)
            return reply
        except CallFailed as failed:
            self._failed[call.key] = failed
            with self._lock:  # the next equal call gets the same sample
                self._samples[replace(call, sample=0).key].discard(call.sample)
            failure = Failure(failed.kind, module, str(failed), failed.infrastructure)
            step = replace(step, failure=failure, agreement=0.0, latency_s=failed.latency_s)
            raise
        except BaseException as error:  # the budget, the store: not for the code to handle
            self._end(error)
        finally:
            self._steps[place] = step

    def _answered(self, call: LMCall) -> LMReply:
        if call.key in self._failed:
            raise self._failed[call.key]
        return self.session.complete(call)

    def _end(self, error: BaseException) -> NoReturn:
        self.ended = self.ended or error
        raise RunEnded(str(error)) from error


def _shown(reply: LMReply) -> str:
    """The reply's text, followed by the tools that it calls as JSON."""
    calls = [json.dumps(call, ensure_ascii=False) for call in reply.tool_calls]
    return "\n".join([*([reply.text] if reply.text or not calls else []), *calls])
