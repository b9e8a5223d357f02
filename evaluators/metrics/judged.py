"""Metrics that ask a language model: the judge, and the metric bound to a pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Final, TypeAlias

import dspy

from evaluators.errors import MetricError
from evaluators.metrics.human_labels import HumanLabels
from evaluators.metrics.metric import BoundMetric, Score
from evaluators.metrics.text import text_of
from pipelines import Failure, Tunable
from pipelines.adapters.dspy_programs.inspection.lms import as_consulted
from pipelines.aggregators.role import free_name
from pipelines.gateway.call_record import current_recorder, recording
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.modules.signature import REASONING
from pipelines.programs.adapter import chat_adapter
from pipelines.programs.engine import GatewayLM
from pipelines.programs.failures import failure_of
from search_spaces.config import canonical_json

JUDGE: Final = "judge"
"""The purpose of its calls, and the module that its failures name."""

_REASON = "reason"


@dataclass(frozen=True)
class Question:
    """A question to a judge, who also sees the pipeline's inputs."""

    instructions: str
    sees: Mapping[str, str]
    """Further input fields, each with what it holds."""
    verdict: str
    """The output field that holds the verdict; the reason comes before it."""
    kind: type[float] | type[int]
    meaning: str
    """What the verdict's values mean."""
    least: float
    most: float
    """A verdict beyond these bounds is unreadable."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's answer."""

    value: float
    reason: str


class Judge:
    """Asks one model one question about many answers.

    Its fields get underscores where they clash with the pipeline's.
    """

    def __init__(
        self,
        question: Question,
        inputs: Sequence[str],
        outputs: Sequence[str],
        model: Model,
        session: Session,
    ) -> None:
        self._question = question
        names = (*question.sees, _REASON, question.verdict)
        self._own = {name: free_name(name, (*inputs, *outputs)) for name in names}
        self._predict = dspy.Predict(self._signature(inputs))
        # at temperature 0 a second answer would be the same
        self._lms = [
            GatewayLM(model, session, temperature=temperature, purpose=JUDGE, sample=sample)
            for sample, temperature in enumerate((0.0, 1.0))
        ]

    def ask(self, inputs: Mapping[str, Any], sees: Mapping[str, str]) -> Verdict | Failure:
        """The verdict on one example; an unreadable one is asked for once more.

        A failure counts as infrastructure, of a kind such as `judge_unparsable` or
        `judge_server_error`, since it says nothing about the answer.

        Args:
            inputs: the pipeline's, by field.
            sees: the texts of the question's own fields.
        """
        fields = {
            name: value if isinstance(value, str) else canonical_json(value)
            for name, value in inputs.items()
        }
        fields |= {self._own[name]: text for name, text in sees.items()}
        verdict = self._verdict(self._lms[0], fields)
        if isinstance(verdict, Failure) and not verdict.infrastructure:
            verdict = self._verdict(self._lms[1], fields)
        if isinstance(verdict, Failure):
            return replace(verdict, kind=f"{JUDGE}_{verdict.kind}", infrastructure=True)
        return verdict

    def _verdict(self, lm: GatewayLM, fields: Mapping[str, str]) -> Verdict | Failure:
        try:
            with dspy.context(adapter=chat_adapter(), disable_history=True, trace=None):
                reply = self._predict(lm=lm, **fields)
        except Exception as error:
            failure = failure_of(error, current_recorder().calls, JUDGE)
            if failure is None:
                raise
            return failure
        question = self._question
        value = reply[self._own[question.verdict]]
        if not question.least <= value <= question.most:  # NaN fails this too
            rule = f"from {question.least:g} to {question.most:g}"
            problem = f"the {question.verdict} must be {rule}, but the judge said {value!r}"
            return Failure("unparsable", JUDGE, problem, infrastructure=False)
        return Verdict(value, str(reply[self._own[_REASON]]))

    def _signature(self, inputs: Sequence[str]) -> type[dspy.Signature]:
        question = self._question
        fields: dict[str, Any] = {name: (str, dspy.InputField()) for name in inputs}
        for name, meaning in question.sees.items():
            fields[self._own[name]] = (str, dspy.InputField(desc=meaning))
        fields[self._own[_REASON]] = (str, dspy.OutputField(desc="why, in a sentence or two"))
        verdict = dspy.OutputField(desc=question.meaning)
        fields[self._own[question.verdict]] = (question.kind, verdict)
        made: type[dspy.Signature] = dspy.Signature(fields, question.instructions)
        return made


Ask = Callable[[Mapping[str, str]], Verdict | Failure]
"""The judge's verdict on what it sees beside the example's inputs."""


AnyModel: TypeAlias = str | Model | dspy.BaseLM
"""A model as users name it."""


@dataclass(frozen=True, kw_only=True)
class JudgedMetric(ABC):
    """A metric that asks a judge; unbound, it knows no pipeline, models or session yet.

    `llm_judge` and `llm_preference` make one.
    """

    name: ClassVar[str]
    asks: ClassVar[int]
    """Most verdicts per answer, unless one must be repeated."""

    model: AnyModel | None
    """The judge: a label or name among the models of `optimize`, or another model; None for the
    most expensive of them."""
    labels: Any
    """Answers that people have scored, in any form that `Dataset.load` takes; None for none."""

    def __post_init__(self) -> None:
        if isinstance(self.model, dspy.BaseLM):
            judge = as_consulted(self.model, f"{self.name}(model=...)")
            object.__setattr__(self, "model", judge)
        named = isinstance(self.model, str) and self.model.strip()
        if not (self.model is None or isinstance(self.model, Model) or named):
            raise MetricError(
                f"{self.name}(model=...) must name a model, such as 'openai/gpt-4o-mini' or "
                f"Model(...), but got {self.model!r}"
            )

    @property
    @abstractmethod
    def question(self) -> Question:
        """What the judge is asked."""

    def compared(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The outputs that the judge is shown, by default all."""
        return tuple(outputs)

    @abstractmethod
    def references(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The columns that it reads beside the inputs; raises MetricError if it does not fit these
        outputs."""

    @abstractmethod
    def judged(self, ask: Ask, example: Any, answer: Mapping[str, Any]) -> Score:
        """The score of one answer (the outputs but the reasoning); no value if the judge failed."""

    def bind(self, pipeline: Tunable, model: Model) -> BoundMetric:
        """The metric for this pipeline and judge; call its `open` before scoring."""
        outputs = tuple(field for field in pipeline.outputs if field != REASONING)
        if not outputs:
            raise MetricError(
                f"{self.name} shows a judge the outputs, but nothing says what they are: "
                "from_callable(..., outputs=['answer']) would"
            )
        references, outputs = self.references(outputs), self.compared(outputs)
        labels = None
        if self.labels is not None:
            columns = (*pipeline.inputs, *references)
            labels = HumanLabels.load(self.labels, columns, outputs, certain=pipeline.knows_outputs)
        judging = Judging(self, pipeline.inputs, outputs, model, labels)
        return BoundMetric(
            self.name, references, judging.identity, _not_open, judging.check, judging=judging
        )


@dataclass(frozen=True)
class Judging:
    """Everything a bound metric needs to call its judge, except a session."""

    metric: JudgedMetric
    inputs: Sequence[str]
    """The pipeline's."""
    outputs: Sequence[str]
    """Those that are judged."""
    model: Model
    labels: HumanLabels | None

    @property
    def identity(self) -> str:
        """Changes with anything that may change a score or its correction."""
        references = self.metric.references(self.outputs)
        digest = self.labels.answers.digest if self.labels else None
        question = [self.metric.name, asdict(self.metric.question), references, self.outputs]
        return canonical_json([*question, self.model.identity, digest])

    def check(self, example: Any) -> None:
        """Raises ValueError for an example without the reference that the judge is to see."""
        for column in self.metric.references(self.outputs):
            if not text_of(example[column]).strip():
                raise ValueError(f"column {column!r} is empty: there is no reference to judge by")

    def scorer(self, session: Session) -> Callable[[Any, Any], Score]:
        """The metric itself: of an example and a prediction, both with fields as items."""
        judge = Judge(self.metric.question, self.inputs, self.outputs, self.model, session)

        def score(example: Any, prediction: Any) -> Score:
            given = {field: example[field] for field in self.inputs}
            answer = {field: prediction[field] for field in self._shown(prediction.keys())}
            with recording() as recorder:
                made = self.metric.judged(lambda sees: judge.ask(given, sees), example, answer)
            return replace(made, usd=sum(call.usd for call in recorder.calls))

        return score

    def _shown(self, returned: Collection[str]) -> Sequence[str]:
        """The judged fields of a prediction: its outputs, or, if it has none of them, as a program
        with undeclared outputs may, all but the reasoning."""
        there = [field for field in self.outputs if field in returned]
        return there or [field for field in returned if field != REASONING]


def _not_open(example: Any, prediction: Any) -> Score:
    raise RuntimeError(
        "its judge is asked through a session: BoundMetric.open(session) comes first"
    )


def check_text(given: Any, rule: str) -> None:
    """Raises MetricError, with the rule, unless it is text and not empty."""
    if not isinstance(given, str) or not given.strip():
        raise MetricError(f"{rule}, but got {given!r}")
