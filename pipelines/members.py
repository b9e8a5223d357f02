"""The members of a wide module on one example's inputs, as its aggregator sees them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy

from pipelines.aggregators import Answer
from pipelines.concurrency import run_together
from pipelines.errors import PipelineError
from pipelines.failures import ModuleFailed, failure_of
from pipelines.fingerprint import fingerprint
from pipelines.llms.call_record import Recorder, current_recorder, recording
from pipelines.llms.engine import RacingLM
from pipelines.signature import REASONING
from pipelines.trace import Failure

if TYPE_CHECKING:
    from pipelines.aggregators.aggregator import Record
    from pipelines.llms.engine import GatewayLM


class MemberKey(NamedTuple):
    """What decides a member's answer, within one pipeline and one set of models."""

    module: str
    prompt: str
    """Signature, instructions and demos as text."""
    model: str
    sample: int
    settings: str
    """Temperature and parameters as text."""
    inputs: str
    """The fingerprint of the module's own."""


@dataclass(frozen=True)
class Heard:
    """What became of asking once: a prediction, or a failure; and the calls."""

    said: dspy.Prediction | Failure
    recorder: Recorder


MemberMemo = MutableMapping[MemberKey, Heard]


class Consultant(NamedTuple):
    """A module of the aggregator's own."""

    field: str
    """Where it sees the candidates."""
    rename: Mapping[str, str]
    """The aggregator's name for what it writes, where that is another."""
    predictor: Callable[..., dspy.Prediction]


@dataclass
class Network:
    """What the members of one module are, apart from any example."""

    name: str
    """The module's path, for failures."""
    prompt: str
    members: Sequence[GatewayLM]
    models: Sequence[str]
    """Model label by member."""
    greedy: Callable[[int], GatewayLM]
    """A member at temperature 0."""
    consultants: Mapping[str, Consultant]
    """By role."""
    answer_fields: Sequence[str]
    """The output fields without the reasoning."""
    memo: MemberMemo | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        """Copies may be edited, which the memo would not notice."""
        copied = copy.copy(self)
        copied.members = copy.deepcopy(self.members, memo)
        copied.consultants = copy.deepcopy(self.consultants, memo)
        copied.memo = None
        return copied


Ask = Callable[["GatewayLM", Mapping[str, Any]], dspy.Prediction]
"""One call of DSPy's `Predict` with a given language model."""


@dataclass
class AskedMembers:
    """`Members` that really ask."""

    network: Network
    inputs: Record
    predict: Ask
    predictions: dict[int | None, dspy.Prediction] = field(default_factory=dict)
    """What each member said that answered, by its place; under None, what was written instead."""
    recorder: Recorder = field(default_factory=current_recorder)
    """Where it notes what it does."""
    _answers: dict[tuple[int, bool], Answer] = field(default_factory=dict)
    _asked: set[tuple[int, bool]] = field(default_factory=set)

    @property
    def models(self) -> Sequence[str]:
        """Model label by member."""
        return self.network.models

    @property
    def roles(self) -> Collection[str]:
        """The aggregator's own modules that have a model."""
        return self.network.consultants.keys()

    def ask(
        self,
        members: Sequence[int],
        *,
        greedy: bool = False,
        inputs: Sequence[Record] | None = None,
    ) -> list[Answer]:
        """See `Members.ask`."""
        given = inputs or [self.inputs] * len(members)
        new = [
            (m, i) for m, i in zip(members, given, strict=True) if (m, greedy) not in self._asked
        ]
        lm = self.network.greedy if greedy else self.network.members.__getitem__
        heard = self._heard([(lm(member), received) for member, received in new])
        for (member, _), one in zip(new, heard, strict=True):
            self._asked.add((member, greedy))
            if isinstance(one.said, dspy.Prediction):
                self._answers[member, greedy] = self._answer(member, one)
        found = (self._answers.get((member, greedy)) for member in members)
        return [answer for answer in found if answer is not None]

    def first(self, count: int) -> list[Answer]:
        """See `Members.first`."""
        lm = RacingLM(self.network.members, count)
        heard = [self._say(lm, self.inputs)]  # holds the race
        heard += [self._say(lm, self.inputs) for _ in lm.race.winners[1:]]
        losers = Recorder(lm.race.losers)
        self.recorder.note_together([*(one.recorder for one in heard), losers])
        answers = [
            self._answer(member, one)
            for alike, one in zip(lm.race.winners, heard, strict=False)  # no winners if it failed
            for member in alike
            if isinstance(one.said, dspy.Prediction)
        ]
        return answers[:count]

    def consult(self, role: str, shown: Sequence[str]) -> list[Record | None]:
        """See `Members.consult`."""
        done = run_together([partial(self._consulted, role, text) for text in shown])
        self.recorder.note_together([heard.recorder for heard in done])
        said = [heard.said if isinstance(heard.said, dspy.Prediction) else None for heard in done]
        for one in said:
            if one and set(self.network.answer_fields) <= set(one.keys()):
                self.predictions[None] = one
        rename = self.network.consultants[role].rename
        return [
            one and {rename.get(k, k): v for k, v in one.items() if k != REASONING} for one in said
        ]

    def failed(self, kind: str, message: str) -> None:
        """See `Members.failed`."""
        failure = Failure(kind, self.network.name, message, infrastructure=False)
        self.recorder.failures.append(failure)

    def _heard(self, asked: Sequence[tuple[GatewayLM, Record]]) -> list[Heard]:
        """What they say, from the memo or by asking them together."""
        memo = self.network.memo
        keys = [self._key(lm, received) if memo is not None else None for lm, received in asked]
        known = [memo.get(key) if memo is not None and key else None for key in keys]
        asking = [partial(self._say, *a) for a, k in zip(asked, known, strict=True) if k is None]
        new = iter(run_together(asking))
        heard = [one or next(new) for one in known]
        for key, one in zip(keys, heard, strict=True):
            outage = isinstance(one.said, Failure) and one.said.infrastructure
            if memo is not None and key is not None and not outage:
                memo[key] = one
        self.recorder.note_together([one.recorder for one in heard])
        return heard

    def _key(self, lm: GatewayLM, inputs: Record) -> MemberKey | None:
        received = self._fingerprint if inputs is self.inputs else fingerprint(inputs)
        if received is None:
            return None
        network = self.network
        return MemberKey(network.name, network.prompt, lm.label, lm.sample, lm.settings, received)

    @cached_property
    def _fingerprint(self) -> str | None:
        return fingerprint(self.inputs)

    def _say(self, lm: GatewayLM, inputs: Record) -> Heard:
        return _heard(self.network.name, partial(self.predict, lm, inputs))

    def _consulted(self, role: str, shown: str) -> Heard:
        consultant = self.network.consultants[role]
        asked = {**self.inputs, consultant.field: shown}
        return _heard(f"{self.network.name}.{role}", partial(consultant.predictor, **asked))

    def _answer(self, member: int, heard: Heard) -> Answer:
        said = heard.said
        if not isinstance(said, dspy.Prediction):
            raise TypeError(f"a failure is no answer: {said}")
        self.predictions[member] = said
        record = {name: said[name] for name in self.network.answer_fields}
        return Answer(member, record, sum(call.output_tokens for call in heard.recorder.calls))


def _heard(name: str, ask: Callable[[], dspy.Prediction]) -> Heard:
    """Ask, and note what happens; a failure is a value here."""
    with recording() as recorder:
        try:
            return Heard(ask(), recorder)
        except Exception as error:
            failure = failure_of(error, recorder.calls, name)
            if failure is None:
                raise
            recorder.failures.append(failure)
            return Heard(failure, recorder)


def outcome(members: AskedMembers, answer: Answer) -> dspy.Prediction:
    """The winner's whole record: its reasoning, and what the aggregator made of its fields."""
    said = members.predictions.get(answer.member)
    whole = {} if said is None else dict(said.items())
    return dspy.Prediction(**{**whole, **answer.record})


def failure_of_all(members: AskedMembers) -> ModuleFailed:
    """Why no member answered: the first one's failure; an outage's if any met one."""
    failures = sorted(members.recorder.failures, key=lambda failure: not failure.infrastructure)
    if not failures:
        raise PipelineError(f"aggregator of {members.network.name!r} chose none of the answers")
    return ModuleFailed(failures[0])
