"""A language model as judge of answers: one structured verdict a call, through the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import dspy

from pipelines import Failure
from pipelines.aggregators.role import free_name
from pipelines.failures import failure_of
from pipelines.llms.call_record import current_recorder
from pipelines.llms.engine import GatewayLM
from pipelines.llms.gateway import Session
from pipelines.llms.model import Model
from search_spaces.config import canonical_json

JUDGE: Final = "judge"
"""The purpose of its calls, and the module that its failures name."""

_REASON = "reason"


@dataclass(frozen=True)
class Question:
    """What a judge is asked, beside what the pipeline received."""

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
    """A verdict beyond these bounds can't be read."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said."""

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
        # at temperature 0 whoever is asked again would say the same
        self._lms = [
            GatewayLM(model, session, temperature=temperature, purpose=JUDGE, sample=sample)
            for sample, temperature in enumerate((0.0, 1.0))
        ]

    def ask(self, inputs: Mapping[str, Any], sees: Mapping[str, str]) -> Verdict | Failure:
        """The verdict; where it can't be read, it is asked for once more.

        A failure counts as infrastructure, of a kind such as `judge_unparsable` or
        `judge_server_error`: whatever the judge does wrong, it says nothing about the answer.

        Args:
            inputs: the pipeline's, by field.
            sees: what the question's own fields hold.

        Raises:
            BudgetExhausted: the call could break a cap.
        """
        fields = {name: _text(value) for name, value in inputs.items()}
        fields |= {self._own[name]: text for name, text in sees.items()}
        said = self._said(self._lms[0], fields)
        if isinstance(said, Failure) and not said.infrastructure:
            said = self._said(self._lms[1], fields)
        if isinstance(said, Failure):
            return replace(said, kind=f"{JUDGE}_{said.kind}", infrastructure=True)
        return said

    def _said(self, lm: GatewayLM, fields: Mapping[str, str]) -> Verdict | Failure:
        adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
        try:
            with dspy.context(adapter=adapter, disable_history=True, trace=None):
                said = self._predict(lm=lm, **fields)
        except Exception as error:
            failure = failure_of(error, current_recorder().calls, JUDGE)
            if failure is None:
                raise
            return failure
        return self._read(said)

    def _read(self, said: dspy.Prediction) -> Verdict | Failure:
        question = self._question
        value = said[self._own[question.verdict]]
        if not question.least <= value <= question.most:  # NaN fails this too
            rule = f"from {question.least:g} to {question.most:g}"
            told = f"the {question.verdict} must be {rule}, but the judge said {value!r}"
            return Failure("unparsable", JUDGE, told, infrastructure=False)
        return Verdict(value, str(said[self._own[_REASON]]))

    def _signature(self, inputs: Sequence[str]) -> type[dspy.Signature]:
        question = self._question
        fields: dict[str, Any] = {name: (str, dspy.InputField()) for name in inputs}
        for name, told in question.sees.items():
            fields[self._own[name]] = (str, dspy.InputField(desc=told))
        fields[self._own[_REASON]] = (str, dspy.OutputField(desc="why, in a sentence or two"))
        verdict = dspy.OutputField(desc=question.meaning)
        fields[self._own[question.verdict]] = (question.kind, verdict)
        made: type[dspy.Signature] = dspy.Signature(fields, question.instructions)
        return made


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
