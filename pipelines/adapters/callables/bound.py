"""Plain Python bound to a config: instances of the code whose models are the config's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy

from pipelines.adapters.callables.handle import Setting
from pipelines.adapters.callables.instances import FactoryFailed, Instances
from pipelines.adapters.callables.run import Run
from pipelines.adapters.entrances import open_litellm
from pipelines.adapters.entrances.askers import RunEnded
from pipelines.adapters.entrances.chat_request import RefusedRequest, chat_request
from pipelines.errors import PipelineError
from pipelines.gateway.call import CallFailed
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.modules.functions import own_copy
from pipelines.programs.bound_program import BoundProgram, Prediction, Reached, taken
from pipelines.programs.concurrency import Resumable
from pipelines.programs.memo import Memo, fingerprint
from pipelines.programs.trace import ModuleStep, Trace
from search_spaces import PipelineConfig
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    from pipelines.adapters.callables.pipeline import CallablePipeline


class BoundCallable(BoundProgram):
    """Plain Python bound to a config.

    Raises:
        PipelineError: the config does not fit the modules.
    """

    def __init__(
        self,
        pipeline: CallablePipeline,
        config: PipelineConfig,
        models: Mapping[str, Model],
        session: Session,
        memo: Memo | None = None,
    ) -> None:
        super().__init__(pipeline, config, models)
        open_litellm()  # from here on the code may ask `compound/...`
        self._pipeline = pipeline
        self._config = config
        self._session = session
        self._memo = Memo() if memo is None else memo
        self._bound = {
            # one sample suffices: draws are counted over all modules of a run
            name: replace(each, samples=(0,))
            for name, each in self._bound.items()
        }
        self._settings = {
            name: Setting(each.models[0].name, each.config.temperature)
            for name, each in self._bound.items()
        }
        # in the memo, so that all configs share the bound on idle instances
        self._instances: Instances = self._memo.setdefault(Instances, Instances(pipeline.factory))

    def resumable(self, inputs: Mapping[str, Any]) -> Resumable[Trace]:
        """See `BoundProgram.resumable`; the code runs as a whole, and once for equal inputs."""
        own = _copied(inputs, self._pipeline.inputs)
        key = self._key(own) or object()
        made = yield from self._memo.make({key: lambda: self._run(own)[0]}, Trace.lasts)
        return made[key]

    def prediction_of(self, inputs: Mapping[str, Any]) -> dspy.Prediction:
        """See `BoundProgram.prediction_of`."""
        return Prediction.of_trace(*self._run(_copied(inputs, self._pipeline.inputs)))

    def inputs_of(self, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the module is first asked, by running the code up to there."""
        module = self._pipeline.module(name).name
        own = _copied(inputs, self._pipeline.inputs)
        known = self._memo.get(self._key(own))
        if known is not None:
            return next((step.inputs for step in known.steps if step.module == module), None)
        run = Run(self._bound, self._session, stop_at=module)
        self._called(run, own)
        return run.ended.inputs if isinstance(run.ended, Reached) else None

    def run_module(self, name: str, inputs: Mapping[str, Any]) -> ModuleStep:
        """Send the same messages to the module's model; see `BoundProgram.run_module`."""
        module = self._pipeline.module(name).name
        run = Run(self._bound, self._session)
        try:
            given = _copied(inputs, ("messages",))
            run.ask(module, chat_request(given["messages"], inputs.get("params") or {}))
        except CallFailed:  # it is in the step
            pass
        except RefusedRequest as refused:
            raise PipelineError(f"module {module!r}: {refused}") from refused
        except RunEnded:
            assert run.ended is not None
            raise run.ended from None
        return run.steps[0]

    def _run(self, inputs: Mapping[str, Any]) -> tuple[Trace, Exception | SystemExit | None]:
        """The trace of a run, and what the code raised."""
        run = Run(self._bound, self._session)
        outputs, error = self._called(run, inputs)
        if error is None:
            return Trace(run.steps, outputs), None
        return Trace(run.steps, None, run.failure_of(error, self._pipeline.name)), error

    def _called(
        self, run: Run, inputs: Mapping[str, Any]
    ) -> tuple[dict[str, Any] | None, Exception | SystemExit | None]:
        """The outputs, or what the code raised; neither if it reached the module to stop at."""
        outputs: dict[str, Any] | None = None
        error: Exception | SystemExit | None = None
        try:
            with self._instances.lent(run, self._settings) as instance:
                outputs = _outputs_of(instance.call(run, inputs), self._pipeline.outputs)
        except FactoryFailed:
            raise
        except (Exception, SystemExit) as raised:  # a script's exit must not end the search
            error = raised
        except RunEnded:
            pass
        if run.ended is not None and not isinstance(run.ended, Reached):
            raise run.ended  # even if the code caught it
        return outputs, error

    def _key(self, inputs: Mapping[str, Any]) -> tuple[str, str] | None:
        """What decides a run of deterministic code: the config and the inputs' fingerprint."""
        received = fingerprint(inputs)
        return None if received is None else (self._config.key, received)


def _copied(inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The inputs of these names, for the code to change; errors as `taken`."""
    return {name: own_copy(value) for name, value in taken(inputs, names).items()}


def _outputs_of(returned: Any, names: Sequence[str]) -> dict[str, Any]:
    """The outputs by name; raises TypeError for a bare value without one name, or a missing one."""
    if not isinstance(returned, Mapping):
        if len(names) == 1 and returned is not None:
            return {names[0]: returned}
        raise TypeError(
            f"the function must return a mapping of outputs, such as {{'answer': ...}}, but "
            f"returned {returned!r}; a bare value needs one name, as in outputs=['answer']"
        )
    for name in names:
        if name not in returned:
            raise TypeError(
                f"the function must return the output {name!r}, but returned "
                f"{sorted(map(str, returned))}{nearest(name, map(str, returned))}"
            )
    return {name: returned[name] for name in names} if names else dict(returned)
