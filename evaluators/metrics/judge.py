"""A language model as judge of answers: one structured verdict a call, through the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import dspy

from pipelines import Failure
from pipelines.aggregators.role import free_name
from pipelines.gateway.call_record import current_recorder
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.programs.adapter import chat_adapter
from pipelines.programs.engine import GatewayLM
from pipelines.programs.failures import failure_of
from search_spaces.config import canonical_json

JUDGE: Final = "judge"
"""The purpose of its calls, and the module that its failures name."""

_REASON = "reason"


@dataclass(frozen=True)
class Question:
    """What a judge is asked, beside the pipeline's inputs."""

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

    Its fields get underscores where the pipeline's own have their names.
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
