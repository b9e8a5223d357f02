"""The members of a wide module on one example's inputs, as its aggregator sees them."""

from __future__ import annotations

import contextvars
import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import dspy

from pipelines.aggregators import Aggregator, Answer, Verdict
from pipelines.aggregators.aggregator import Record
from pipelines.errors import PipelineError
from pipelines.gateway.call_record import Recorder, current_recorder, recording
from pipelines.gateway.gateway import Session
from pipelines.modules.signature import REASONING
from pipelines.programs.binding import BoundModule
from pipelines.programs.concurrency import begin, finish, run_together
from pipelines.programs.engine import GatewayLM, RacingLM
from pipelines.programs.failures import ModuleFailed, failure_of
from pipelines.programs.memo import Memo, fingerprint
from pipelines.programs.own_time import own_time, waiting
from pipelines.programs.parsed import ParsedOutputs
from pipelines.programs.provisional import current_listener
from pipelines.programs.trace import Failure
from search_spaces import MemberConfig
from search_spaces.refusals import nearest


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
class Response:
    """The outcome of one request, and its calls."""

    result: dspy.Prediction | Failure
    recorder: Recorder


class Member(NamedTuple):
    """One member of a module, independent of any example."""

    config: MemberConfig
    """With the settings that it runs with."""
    lm: GatewayLM
    prompt: str
    """Everything that determines its prompt for given inputs."""
    own: Mapping[str, Any]
    """What DSPy's `Predict` is given in place of its own `signature` and `demos`."""
    parsed: ParsedOutputs | None = None
    """Its earlier outputs."""


@dataclass
class Network:
    """The members of one module, independent of any example."""

    bound: BoundModule
    aggregator: Aggregator
    members: Sequence[Member]
    consultants: Mapping[str, Callable[..., dspy.Prediction]]
    """The predictors of the modules that the aggregator consults, by role."""
    session: Session
    users_code: str
    """Identifies the user's code that the aggregator runs; empty if it runs none."""
    memo: Memo | None = None

    @property
    def name(self) -> str:
        """The module's path, for failures."""
        return self.bound.path

    @cached_property
    def answer_fields(self) -> Sequence[str]:
        """The output fields without the reasoning."""
        return [name for name in self.bound.module.output_fields if name != REASONING]

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
    """`Members` that call models."""

    network: Network
    inputs: Record
    predict: Ask
    predictions: dict[int | None, dspy.Prediction] = field(default_factory=dict)
    """Each answer by the member's place; under None, one that no member gave."""
    recorder: Recorder = field(default_factory=current_recorder)
    """Where it records calls and failures."""
    waited_s: float = 0.0
    """Seconds that the aggregator has spent on asking."""
    _answers: dict[tuple[int, bool], Answer | None] = field(default_factory=dict)
    """By member and whether it was asked greedily; None where it failed."""
    _consultations: Counter[str] = field(default_factory=Counter)

    @cached_property
    def models(self) -> Sequence[str]:
        """Model label by member."""
        return [member.config.model for member in self.network.members]

    @property
    def configs(self) -> Sequence[MemberConfig]:
        """See `Members.configs`."""
        return [member.config for member in self.network.members]

    @property
    def roles(self) -> Collection[str]:
        """The aggregator's own modules that have a model."""
        return self.network.consultants.keys()

    @waiting
    def ask(
        self,
        members: Sequence[int],
        *,
        greedy: bool = False,
        inputs: Sequence[Record] | None = None,
    ) -> list[Answer]:
        """See `Members.ask`. Raises PipelineError for an unknown member, or one asked too often."""
        self._check_asked(members, greedy)
        given = inputs or [self.inputs] * len(members)
        new = [
            (m, i) for m, i in zip(members, given, strict=True) if (m, greedy) not in self._answers
        ]
        responses = self._responses([(self._member(m, greedy), received) for m, received in new])
        for (member, _), one in zip(new, responses, strict=True):
            self._answers[member, greedy] = self._answer(member, one)
        return self._given(members, greedy)

    @waiting
    def first(self, count: int) -> list[Answer]:
        """See `Members.first`. Raises PipelineError if members were already asked, or if they have
        prompts of their own, since one request goes to all that race."""
        if self._answers:
            raise self.wrong("must not have members race who were asked before")
        if any(member.own for member in self.network.members):
            raise self.wrong("must not have members race that have prompts of their own")
        self._answers = {(member, False): None for member in range(len(self.models))}
        lms = [member.lm for member in self.network.members]
        lm = RacingLM(lms, count, self._report_first(count))
        racing = self.network.members[0]._replace(lm=lm, parsed=None)
        responses = [self._respond(racing, self.inputs)]  # holds the race
        responses += [self._respond(racing, self.inputs) for _ in lm.race.winners[1:]]
        losers = Recorder(lm.race.losers)
        self.recorder.note_together([*(one.recorder for one in responses), losers])
        finished = []
        for alike, one in zip(lm.race.winners, responses, strict=False):  # no winners if it failed
            finished += alike
            self._answers |= {(member, False): self._answer(member, one) for member in alike}
        return self._given(finished)[:count]

    @waiting
    def consult(self, role: str, shown: Sequence[str]) -> list[Record | None]:
        """See `Members.consult`. Raises PipelineError for an unknown role, or one asked too
        often."""
        self._check_consulted(role, len(shown))
        done = run_together([partial(self._consulted, role, text) for text in shown])
        self.recorder.note_together([response.recorder for response in done])
        results = [
            each.result if isinstance(each.result, dspy.Prediction) else None for each in done
        ]
        for one in results:
            if one and set(self.network.answer_fields) <= set(one.keys()):
                self.predictions[None] = one
        rename = self.network.bound.consultants[role].module.rename
        return [
            one and {rename.get(k, k): v for k, v in one.items() if k != REASONING}
            for one in results
        ]

    @waiting
    def provisional(self, verdict: Verdict) -> None:
        """See `Members.provisional`."""
        if listener := current_listener():
            listener(self.network.name, _outcome(self, verdict.answer), verdict.agreement)

    def failed(self, kind: str, message: str) -> None:
        """See `Members.failed`."""
        failure = Failure(kind, self.network.name, message, infrastructure=False)
        self.recorder.failures.append(failure)

    def _report_first(self, count: int) -> Callable[[int], object] | None:
        """Reports the first answer of a race, in a thread; None if nobody listens. Its reply is
        recorded by then, so that asking for it again costs nothing."""
        listener = current_listener()
        if listener is None or count == 1:
            return None

        def report(place: int) -> None:
            found = self._respond(self.network.members[place], self.inputs).result
            if not isinstance(found, Failure):
                listener(self.network.name, found, 1 / count)

        context = contextvars.copy_context()
        return lambda place: begin(partial(context.run, report, place))

    def _check_asked(self, members: Sequence[int], greedy: bool) -> None:
        width, most = len(self.models), self.network.aggregator.asks_again
        for member in members:
            if member not in range(width):
                raise self.wrong(f"must ask members from 0 to {width - 1}, but asks {member!r}")
        if len(set(members)) < len(members):
            raise self.wrong(f"must ask each member once, but asks {list(members)}")
        again = {*members, *(m for m, earlier in self._answers if earlier)} if greedy else set()
        if len(again) > most:
            raise self.wrong(f"asks {len(again)} members greedily, but its asks_again is {most}")

    def _check_consulted(self, role: str, times: int) -> None:
        if role not in self.roles:
            hint = nearest(role, self.roles)
            raise self.wrong(f"consults {role!r}, which has no model{hint}")
        self._consultations[role] += times
        asked = self._consultations[role]
        most = self.network.aggregator.roles[role].most_times(len(self.models))
        if asked > most:
            raise self.wrong(f"may ask its {role} {most} times, but asks {asked} times")

    def wrong(self, problem: str) -> PipelineError:
        """The error for what an aggregator, maybe a user's own, must not do."""
        name = self.network.bound.aggregation.name
        return PipelineError(f"aggregator {name!r} of module {self.network.name!r} {problem}")

    def _member(self, place: int, greedy: bool) -> Member:
        member = self.network.members[place]
        if not greedy:
            return member
        lm = member_lm(self.network.bound, self.network.session, place, greedy=True)
        return member._replace(lm=lm, parsed=None)

    def _responses(self, asked: Sequence[tuple[Member, Record]]) -> list[Response]:
        """Their responses, from the memo or from concurrent calls."""
        memo = Memo() if self.network.memo is None else self.network.memo
        keys = [self._key(*one) or object() for one in asked]
        makers = {key: partial(self._respond, *one) for key, one in zip(keys, asked, strict=True)}
        found = finish(memo.make(makers, _lasts))
        responses = [found[key] for key in keys]
        self.recorder.note_together([one.recorder for one in responses])
        return responses

    def _key(self, member: Member, inputs: Record) -> MemberKey | None:
        if self.network.memo is None:
            return None
        received = self._received if inputs is self.inputs else fingerprint(inputs)
        if received is None:
            return None
        lm, module = member.lm, self.network.name
        return MemberKey(module, member.prompt, lm.label, lm.sample, lm.settings, received)

    @cached_property
    def _received(self) -> str | None:
        return fingerprint(self.inputs)

    def _respond(self, member: Member, inputs: Record) -> Response:
        given = {**inputs, **member.own}
        ask = partial(self.predict, member.lm, given)
        if member.parsed is not None and self.network.memo is not None:
            ask = partial(member.parsed.get_or_ask, inputs, ask)
        return _request(self.network.name, ask)

    def _consulted(self, role: str, shown: str) -> Response:
        asked = {**self.inputs, self.network.bound.consultants[role].sees: shown}
        ask = partial(self.network.consultants[role], **asked)
        return _request(f"{self.network.name}.{role}", ask)

    def _given(self, members: Sequence[int], greedy: bool = False) -> list[Answer]:
        """The answers of those that did not fail."""
        return [a for member in members if (a := self._answers[member, greedy]) is not None]

    def _answer(self, member: int, response: Response) -> Answer | None:
        prediction = response.result
        if isinstance(prediction, Failure):
            return None
        self.predictions[member] = prediction
        record = {name: prediction[name] for name in self.network.answer_fields}
        return Answer(member, record, sum(call.output_tokens for call in response.recorder.calls))


def _request(name: str, ask: Callable[[], dspy.Prediction]) -> Response:
    """Ask, and record what happens; a failure is returned, not raised."""
    with recording() as recorder:
        try:
            return Response(ask(), recorder)
        except Exception as error:
            failure = failure_of(error, recorder.calls, name)
            if failure is None:
                raise
            recorder.failures.append(failure)
            return Response(failure, recorder)


def _lasts(response: Response) -> bool:
    """Whether the memo keeps it: outages are transient."""
    return not (isinstance(response.result, Failure) and response.result.infrastructure)


def member_lm(
    bound: BoundModule, session: Session, place: int, *, greedy: bool = False
) -> GatewayLM:
    """The language model of one member; `greedy` is at temperature 0."""
    return GatewayLM(
        bound.models[place],
        session,
        temperature=0.0 if greedy else bound.members[place].temperature,
        sample=0 if greedy else bound.samples[place],
        params=bound.config.params,
    )


def prediction_of(members: AskedMembers) -> dspy.Prediction:
    """The aggregator's outcome for members that are about to be asked.

    Raises ModuleFailed if no member answered, PipelineError if the aggregator breaks a rule, and
    anything that a user's own aggregator raises.
    """
    with dspy.context(trace=None), own_time(members):
        verdict = _verdict(members)
    if verdict is None:  # because of the first failure, or of an outage if any member met one
        failures = sorted(members.recorder.failures, key=lambda failure: not failure.infrastructure)
        raise ModuleFailed(failures[0]) if failures else members.wrong("chose none of the answers")
    members.recorder.agreement = verdict.agreement
    return _outcome(members, verdict.answer)


def _verdict(members: AskedMembers) -> Verdict | None:
    verdict = members.network.aggregator.aggregate(members)
    if verdict is None:
        return None
    if not isinstance(verdict, Verdict) or not isinstance(verdict.answer, Answer):
        raise members.wrong(f"must return a Verdict with an Answer, or None, not {verdict!r}")
    agreement = verdict.agreement
    if not isinstance(agreement, int | float) or not -1e-9 <= agreement <= 1 + 1e-9:
        raise members.wrong(f"must return an agreement from 0 to 1, not {agreement!r}")
    return verdict


def _outcome(members: AskedMembers, answer: Answer) -> dspy.Prediction:
    """The winner's whole record: its reasoning, and the fields as the aggregator returned them."""
    prediction = members.predictions.get(answer.member)
    whole = {**({} if prediction is None else prediction), **answer.record}
    missing = [name for name in members.network.answer_fields if name not in whole]
    if missing:
        raise members.wrong(f"must return the field {missing[0]!r}, not {dict(answer.record)!r}")
    return dspy.Prediction(**whole)
