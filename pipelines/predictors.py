"""DSPy's predictors for a bound module, one of them asking several members."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dspy

from pipelines.aggregators import aggregator
from pipelines.concurrency import run_together
from pipelines.failures import ModuleFailed, failure_of
from pipelines.llms.engine import CALLS, GatewayLM
from pipelines.signature import REASONING, fresh_signature

if TYPE_CHECKING:
    from pipelines.aggregators import Aggregator
    from pipelines.binding import BoundModule
    from pipelines.llms.call_record import CallRecord
    from pipelines.llms.gateway import Session
    from pipelines.trace import Failure


def make_predictor(bound: BoundModule, session: Session) -> dspy.Predict | dspy.ChainOfThought:
    """A fresh predictor that asks the bound module's members through the session."""
    config = bound.config
    lms = [
        GatewayLM(model, session, temperature=config.temperature, sample=sample)
        for model, sample in zip(bound.models, bound.samples, strict=True)
    ]
    outer = inner = dspy.Predict(fresh_signature(bound.module.signature, bound.instructions))
    if bound.module.strategy == "chain_of_thought":
        outer = dspy.ChainOfThought(inner.signature)
        inner = outer.predict
    if len(lms) > 1:
        wide = WidePredict(inner.signature, bound.name, lms, aggregator(str(config.aggregator)))
        inner, outer = wide, _with_predict(outer, wide)
    inner.lm = lms[0]
    inner.demos = [copy.deepcopy(demo) for demo in config.demos]
    return outer


def _with_predict(outer: Any, inner: WidePredict) -> Any:
    if not isinstance(outer, dspy.ChainOfThought):
        return inner
    outer.predict = inner
    return outer


class WidePredict(dspy.Predict):
    """A `dspy.Predict` that asks several members together and returns the winner's record.

    A member that refuses or does not parse abstains; if all do, or one meets an outage, the
    module fails. Giving it another `lm`, as DSPy's optimizers do, leaves that one member.
    """

    def __init__(
        self,
        signature: type[dspy.Signature],
        name: str,
        members: Sequence[GatewayLM],
        aggregator: Aggregator,
    ) -> None:
        super().__init__(signature)
        self.name = name
        """The module's, for failures."""
        self.members = list(members)
        self.aggregator = aggregator
        self.lm = self.members[0]

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The winner's prediction.

        Raises:
            ModuleFailed: no member answered, or one met an outage.
        """
        # DSPy's `reset_copy` leaves no LM, which would mean one outside of the gateway
        members = self.members if self.lm in (None, self.members[0]) else [self.lm]
        with dspy.context(trace=None):
            asked = run_together([partial(self._ask, member, inputs) for member in members])
        calls = CALLS.get()
        if calls is not None:
            calls.extend(call for _, made in asked for call in made)
        winner = self._winner([answer for answer, _ in asked])
        trace = dspy.settings.trace
        if trace is not None:
            trace.append((self, {name: inputs.get(name) for name in self._inputs}, winner))
        return winner

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """As `forward`, off the event loop."""
        return await asyncio.to_thread(WidePredict.forward, self, **inputs)

    @property
    def _inputs(self) -> list[str]:
        return list(self.signature.input_fields)

    def _ask(
        self, member: GatewayLM, inputs: dict[str, Any]
    ) -> tuple[dspy.Prediction | Failure, list[CallRecord]]:
        calls: list[CallRecord] = []
        token = CALLS.set(calls)
        try:
            return super().forward(**inputs, lm=member), calls
        except Exception as error:
            failure = failure_of(error, calls, self.name)
            if failure is None:
                raise
            return failure, calls
        finally:
            CALLS.reset(token)

    def _winner(self, answers: Sequence[dspy.Prediction | Failure]) -> dspy.Prediction:
        given = [answer for answer in answers if isinstance(answer, dspy.Prediction)]
        failed = [answer for answer in answers if not isinstance(answer, dspy.Prediction)]
        for failure in failed:
            if failure.infrastructure or not given:
                raise ModuleFailed(failure)
        fields = [name for name in self.signature.output_fields if name != REASONING]
        records = [{name: answer[name] for name in fields} for answer in given]
        return given[self.aggregator.aggregate(records)]
