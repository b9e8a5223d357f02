"""DSPy's predictors for a bound module."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any

import dspy

from pipelines.aggregators import aggregator
from pipelines.gateway.gateway import Session
from pipelines.modules.signature import fresh_signature
from pipelines.programs.adapter import asking_for
from pipelines.programs.binding import BoundModule
from pipelines.programs.engine import GatewayLM
from pipelines.programs.members import AskedMembers, Member, Network, member_lm, prediction_of
from pipelines.programs.memo import Memo
from pipelines.programs.own_time import users_code
from pipelines.programs.parsed import ParsedOutputs
from search_spaces.config import ReplyFormat


def make_predictor(
    bound: BoundModule, session: Session, memo: Memo | None = None
) -> dspy.Predict | dspy.ChainOfThought:
    """A fresh predictor that asks the bound module's members through the session."""
    outer = _bare(bound)
    inner = outer.predict if isinstance(outer, dspy.ChainOfThought) else outer
    if len(bound.models) > 1:
        inner = WidePredict(inner.signature, make_network(bound, session, inner.signature, memo))
    else:
        if bound.config.reply_format != "chat":
            inner = FormattedPredict(inner.signature, bound.config.reply_format)
        inner.lm = member_lm(bound, session, 0)
    inner.demos = [copy.deepcopy(demo) for demo in bound.config.demos]
    if not isinstance(outer, dspy.ChainOfThought):
        return inner
    outer.predict = inner
    return outer


def bare_predictor(bound: BoundModule) -> dspy.Predict:
    """The bound module's predictor, without a language model."""
    (bare,) = _bare(bound).predictors()
    bare.demos = [dspy.Example(**demo) for demo in bound.config.demos]
    return bare


def _bare(bound: BoundModule) -> dspy.Predict | dspy.ChainOfThought:
    kind = dspy.ChainOfThought if bound.module.strategy == "chain_of_thought" else dspy.Predict
    return kind(fresh_signature(bound.module.signature, bound.instructions))


def make_network(
    bound: BoundModule,
    session: Session,
    signature: type[dspy.Signature],
    memo: Memo | None,
    *,
    keeps: bool = True,
) -> Network:
    """The members of a wide module, and the modules that its aggregator consults. `keeps` says
    whether the config alone decides prompts, so that parsed outputs can be kept."""
    made = aggregator(bound.aggregation)
    prompts = [_own_prompt(bound, place, signature) for place in range(len(bound.models))]
    return Network(
        bound=bound,
        aggregator=made,
        members=[
            Member(
                each,
                member_lm(bound, session, place),
                bound.prompt(each),
                own,
                ParsedOutputs(bound, place, session) if keeps else None,
            )
            for place, (each, own) in enumerate(zip(bound.members, prompts, strict=True))
        ],
        consultants={
            role: make_predictor(each, session, memo) for role, each in bound.consultants.items()
        },
        session=session,
        users_code=users_code(made),
        memo=memo,
    )


def _own_prompt(
    bound: BoundModule, place: int, signature: type[dspy.Signature]
) -> Mapping[str, Any]:
    """The signature and demos of a member's own prompt; see `Member.own`."""
    if not bound.config.members:
        return {}
    member, own = bound.config.members[place], {}
    if member.instructions is not None:
        own["signature"] = signature.with_instructions(member.instructions)
    if member.demos is not None:
        own["demos"] = [copy.deepcopy(demo) for demo in member.demos]
    return own


class FormattedPredict(dspy.Predict):
    """A `dspy.Predict` whose config sets the reply format."""

    def __init__(self, signature: type[dspy.Signature], reply_format: ReplyFormat) -> None:
        super().__init__(signature)
        self.reply_format = reply_format

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """As `dspy.Predict`."""
        with asking_for(self.reply_format):
            return super().forward(**inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """As `dspy.Predict`."""
        with asking_for(self.reply_format):
            return await super().aforward(**inputs)


class WidePredict(FormattedPredict):
    """A `dspy.Predict` that asks several members and returns its aggregator's outcome.

    A member that fails abstains, and its failure is recorded; if all fail, the module fails.
    Giving it another `lm`, as DSPy's optimizers do, leaves that one member, with the module's
    prompt. Editing its signature or demos changes members without a prompt of their own.
    """

    def __init__(self, signature: type[dspy.Signature], network: Network) -> None:
        super().__init__(signature, network.bound.config.reply_format)
        self.network = network
        self.lm = network.members[0].lm

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The aggregator's outcome; errors as `prediction_of`."""
        # DSPy's `reset_copy` leaves no LM, which would mean one outside of the gateway
        if self.lm not in (None, self.network.members[0].lm):
            return super().forward(**inputs)
        prediction = prediction_of(self.members(inputs))
        trace = dspy.settings.trace
        if trace is not None:
            given = {name: inputs.get(name) for name in self.signature.input_fields}
            trace.append((self, given, prediction))
        return prediction

    def members(self, inputs: Mapping[str, Any]) -> AskedMembers:
        """The members, about to be asked on these inputs."""
        return AskedMembers(self.network, inputs, self._ask)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """As `forward`, off the event loop."""
        return await asyncio.to_thread(WidePredict.forward, self, **inputs)

    def _ask(self, member: GatewayLM, inputs: Mapping[str, Any]) -> dspy.Prediction:
        return super().forward(**inputs, lm=member)
