"""The predictor that replaces one of a running program and applies its config."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Self, cast

import dspy

from pipelines.adapters.dspy_programs.inspection.lms import as_model
from pipelines.adapters.dspy_programs.run import NAME, Run, Visit
from pipelines.gateway.gateway import Session
from pipelines.modules.signature import fresh_signature
from pipelines.programs.adapter import asking_for
from pipelines.programs.binding import BoundModule
from pipelines.programs.engine import GatewayLM
from pipelines.programs.members import AskedMembers, Network, member_lm, prediction_of
from pipelines.programs.memo import Memo
from pipelines.programs.parsed import ParsedOutputs
from pipelines.programs.predictors import make_network
from pipelines.programs.trace import MemoKey


@dataclass(eq=False)
class Binding:
    """What a predictor is bound to; copies that a program makes of the predictor share it."""

    bound: BoundModule
    lm: GatewayLM
    """The predictor's `lm`; see `TunedPredict`."""
    member: GatewayLM
    """The model that is asked; the first, if there are several."""
    network: Network | None
    """The members, if there are several."""
    memo: Memo | None
    parsed: ParsedOutputs | None
    """Earlier answers of a single member; None where more than the config decides its prompts."""
    state: tuple[Any, ...]
    """Of the predictor as it was bound; see `_state_of`."""
    had_lm: bool
    """Whether the program's own predictor has an LM, and not just that of DSPy's settings."""

    def recall(self, key: MemoKey | None) -> Visit | None:
        """A copy of the remembered visit, or of one that another run is making right now. None if
        there is none: the caller then makes the visit, and must `remember` it."""
        if self.memo is None or key is None:
            return None
        while True:
            flight, is_mine = self.memo.claim(key)
            if is_mine:
                return None
            known: Visit | None = flight.result()
            if known is not None:
                return known.copied()

    def remember(self, key: MemoKey | None, visit: Visit) -> None:
        """Give the visit to waiting runs, and keep it unless it is transient."""
        if self.memo is not None and key is not None:
            self.memo.land(key, visit.copied() if visit.is_shareable else None, lasts=visit.lasts)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class TunedPredict(dspy.Predict):
    """A predictor that applies its config, records its steps, and remembers them.

    All predictors of a program share one `lm`, which is never asked: DSPy's `BestOfN` and `Refine`
    take the only LM of a module, and set copies of it, with other rollouts and temperatures, in
    copies of the module. Predictors with such a copy still ask their own models.
    """

    binding: Binding
    run: Run

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """As `dspy.Predict`."""
        if self.run.is_inside:
            return super().__call__(*args, **inputs)
        with self.run.entered():
            if not self.binding.had_lm:  # its own would go before that of any context
                self.run.check_lm(self.binding.bound.name)
            key = self._key(args, inputs)
            known = self.binding.recall(key)
            if known is not None:
                self.run.repeat(known)
                if known.raised is not None:
                    raise known.raised
                self._trace(inputs, known.returned)
                return known.returned
            visit = Visit()
            try:
                with self.run.step(self, inputs, visit):
                    visit.returned = super().__call__(*args, **inputs)
                return visit.returned
            finally:
                self.binding.remember(key, visit)

    async def acall(self, *args: Any, **inputs: Any) -> Any:
        """As `dspy.Predict`, in a thread, since the gateway would block the event loop."""
        return await asyncio.to_thread(TunedPredict.__call__, self, *args, **inputs)

    def forward(self, **inputs: Any) -> Any:
        """Ask the members, or the model that the program itself names."""
        if "lm" in inputs or not isinstance(self.lm, GatewayLM | None):
            return super().forward(**inputs)
        network = self.binding.network
        if network is None:
            return self._single(inputs)
        if not self._prompts_as_bound:  # the memo's keys do not cover other prompts
            network = dataclasses.replace(network, memo=None)
        prediction = prediction_of(AskedMembers(network, inputs, self._ask))
        self._trace(inputs, prediction)
        return prediction

    def members(self, inputs: Mapping[str, Any]) -> AskedMembers:
        """The members, about to be asked; there are several."""
        assert self.binding.network is not None
        return AskedMembers(self.binding.network, inputs, self._ask)

    @property
    def is_as_bound(self) -> bool:
        """Whether the program has not changed it."""
        return _state_of(self) == self.binding.state

    @property
    def _prompts_as_bound(self) -> bool:
        """Whether neither the predictor nor the adapter has been changed."""
        return self.is_as_bound and dspy.settings.adapter is self.run.settings["adapter"]

    def _single(self, inputs: Mapping[str, Any]) -> dspy.Prediction:
        """The prediction of its one member, made now or before."""
        ask = partial(self._ask, self.binding.member, inputs)
        parsed = self.binding.parsed
        complete = inputs.keys() == self.signature.input_fields.keys()
        if parsed is None or not (complete and self._prompts_as_bound):
            return ask()
        prediction = parsed.get_or_ask(inputs, ask)
        if prediction.completions is None:  # it was kept, so that DSPy has not seen it
            prediction = dspy.Prediction.from_completions(
                [dict(prediction.items())], signature=self.signature
            )
            self._trace(inputs, prediction)
        return prediction

    def _ask(self, member: GatewayLM, inputs: Mapping[str, Any]) -> dspy.Prediction:
        own = self.lm.kwargs if self.lm is not None else {}
        changed = {k: v for k, v in own.items() if v != self.binding.lm.kwargs.get(k)}
        with asking_for(self.binding.bound.config.reply_format):
            return super().forward(**inputs, lm=member.copy(**changed) if changed else member)

    def _trace(self, inputs: Mapping[str, Any], prediction: dspy.Prediction) -> None:
        """Append to DSPy's trace, as `dspy.Predict` does."""
        if dspy.settings.trace is not None:
            dspy.settings.trace.append((self, dict(inputs), prediction))

    def _key(self, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> MemoKey | None:
        """The step's key; None if there is no memo, or if more than the inputs may decide it."""
        plain = not args and inputs.keys() <= self.signature.input_fields.keys()
        if self.binding.memo is None or type(self) is not TunedPredict or not plain:
            return None
        return self.binding.bound.memo_key(inputs) if self._prompts_as_bound else None


def _state_of(predictor: dspy.Predict) -> tuple[Any, ...]:
    """What a config sets; it differs once the program has changed the predictor."""
    demos = tuple(map(id, predictor.demos))
    return (id(predictor.signature), id(predictor.lm), demos, list(predictor.config.items()))


def tuned_predictor(
    predictor: dspy.Predict,
    bound: BoundModule,
    session: Session,
    shared_lm: GatewayLM,
    memo: Memo | None,
    adapter: dspy.Adapter | None,
) -> TunedPredict:
    """A copy of the predictor that applies its config, and calls through the session.

    `shared_lm` is the `lm` that all predictors of the program have; `adapter` is the program's own,
    None for DSPy's default.
    """
    signature = fresh_signature(bound.module.signature, bound.config.instructions)
    tuned = copied_predictor(predictor)
    tuned.__class__ = _tuned_class(cast(Any, type(predictor)))
    tuned.signature, tuned.lm = signature, shared_lm
    tuned.demos = [dspy.Example(**demo) for demo in bound.config.demos]
    tuned.config = {k: v for k, v in predictor.config.items() if k != "temperature"}
    is_plain = type(predictor) is dspy.Predict and not (adapter or tuned.config or tuned.fields)
    keeps = is_plain and memo is not None and not dspy.settings.track_usage
    parsed = network = None
    if len(bound.models) > 1:
        network = make_network(bound, session, signature, memo, keeps=keeps)
    elif keeps:
        parsed = ParsedOutputs(bound, 0, session)
    tuned.binding = Binding(
        bound, shared_lm, member_lm(bound, session, 0), network, memo, parsed,
        state=_state_of(tuned), had_lm=predictor.lm is not None,
    )  # fmt: skip
    setattr(tuned, NAME, bound.name)
    return cast(TunedPredict, tuned)


def untuned_predictor(place: str, predictor: dspy.Predict, session: Session) -> dspy.Predict:
    """A copy of a predictor that DSPy does not name, unchanged but for asking the gateway."""
    untuned: dspy.Predict = copied_predictor(predictor)
    lm = predictor.lm
    if lm is not None:
        model = as_model(lm, f"predictor {place!r}")
        untuned.lm = GatewayLM(model, session, temperature=lm.kwargs.get("temperature"))
    setattr(untuned, NAME, place)
    return untuned


def copied_predictor(predictor: dspy.Predict) -> Any:
    """A copy that shares no list with the original."""
    copied = object.__new__(type(predictor))
    vars(copied).update(vars(predictor))
    copied.callbacks, copied.history = list(predictor.callbacks), []
    copied.traces, copied.train, copied.demos = [], [], list(predictor.demos)
    return copied


@lru_cache(maxsize=256)
def _tuned_class(kind: type[dspy.Predict]) -> type[TunedPredict]:
    """A user's subclass comes first, so that its methods still wrap ours."""
    if kind is dspy.Predict:
        return TunedPredict
    return type(kind.__name__, (kind, TunedPredict), {})
