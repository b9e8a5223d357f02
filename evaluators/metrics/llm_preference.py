"""A language model compares the answer with a reference, twice, in either order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluators.errors import MetricError
from evaluators.metrics.judged import AnyModel, Ask, JudgedMetric, Question, check_text
from evaluators.metrics.metric import Score
from evaluators.metrics.text import text_of
from pipelines import Failure
from search_spaces.config import canonical_json
from search_spaces.refusals import nearest

_INSTRUCTIONS = """\
The candidates are two answers to the other inputs, numbered, as JSON by field. Say which one is \
better.{rubric}

Neither their order nor length nor a confident tone makes an answer better."""
_RUBRIC = """

A good answer is described so:

{rubric}"""


def llm_preference(
    reference: str | Mapping[str, str],
    *,
    rubric: str | None = None,
    model: AnyModel | None = None,
    labels: Any = None,
) -> LLMPreference:
    """A metric in which a language model compares every answer with a reference, and says why.

    It is asked twice, with the answer first and with the reference first, for judges favour a place
    in the list (arXiv 2306.05685). An answer scores 1 if it is preferred both times, 0 if never,
    and 0.5 if the place decided or it equals the reference (no call then). The reasons are the
    metric's feedback, which the diagnoser reads. Nothing is called here.

    Args:
        reference: the column of the reference; for several outputs a column by output, and
            outputs that are left out are not shown.
        rubric: what a good answer is, in words; None leaves that to the judge.
        model: as for `llm_judge`.
        labels: as for `llm_judge`; 1 where people preferred the answer, 0 where they preferred the
            reference.

    Raises:
        MetricError: the reference names no column, or rubric or model is not text, or empty.
    """
    return LLMPreference(reference, rubric, model=model, labels=labels)


@dataclass(frozen=True)
class LLMPreference(JudgedMetric):
    """See `llm_preference`."""

    name = "llm_preference"
    asks = 2

    reference: str | Mapping[str, str]
    rubric: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        named = self._columns if isinstance(self.reference, str | Mapping) else ()
        for column in named or (self.reference,):
            check_text(column, "llm_preference(reference) must name a column, or one by output")
        if self.rubric is not None:
            check_text(
                self.rubric, "llm_preference(rubric=...) must say in words what a good answer is"
            )

    @property
    def question(self) -> Question:
        """Which of two is better."""
        rubric = _RUBRIC.format(rubric=self.rubric.strip()) if self.rubric else ""
        return Question(
            _INSTRUCTIONS.format(rubric=rubric),
            {"candidates": "the two answers"},
            verdict="preferred",
            kind=int,
            meaning="the number of the better candidate: 1 or 2",
            least=1,
            most=2,
        )

    def compared(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """Those that have a reference."""
        return tuple(self._by_output(outputs))

    def references(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The column of every output that is compared."""
        if isinstance(self.reference, str) and len(outputs) > 1:
            each = ", ".join(f"{field!r}: ..." for field in outputs)
            raise MetricError(
                f"llm_preference(reference) must name a column by output where there are several, "
                f"such as {{{each}}}, but got {self.reference!r}; of a DSPy program, "
                f"from_dspy(program, outputs=[...]) says which of them it returns"
            )
        for field in self._by_output(outputs):
            if field not in outputs:
                raise MetricError(
                    f"llm_preference(reference={self.reference!r}) compares the output {field!r}, "
                    f"but there is none of that name{nearest(field, outputs)} "
                    f"(outputs: {', '.join(outputs)})"
                )
        return self._columns

    def judged(self, ask: Ask, example: Any, answer: Mapping[str, Any]) -> Score:
        """The share of the two orders in which the answer is preferred."""
        self.references(tuple(answer))  # a program's run may return other outputs than expected
        columns = self._by_output(tuple(answer))
        given = {field: text_of(answer[field]).strip() for field in columns}
        reference = {field: text_of(example[column]).strip() for field, column in columns.items()}
        if given == reference:
            return Score(0.5, "the answer is the reference")
        reasons, preferred = [], 0
        for place, shown in enumerate(([given, reference], [reference, given]), start=1):
            verdict = ask({"candidates": _numbered(shown)})
            if isinstance(verdict, Failure):
                return Score(None, failure=verdict)
            preferred += verdict.value == place
            reasons.append(f"shown as candidate {place}: {verdict.reason}")
        outcome = f"preferred to the reference in {preferred} of 2 orders"
        return Score(preferred / 2, "; ".join([outcome, *reasons]))

    @property
    def _columns(self) -> tuple[str, ...]:
        if isinstance(self.reference, str):
            return (self.reference,)
        return tuple(self.reference.values())

    def _by_output(self, outputs: Sequence[str]) -> Mapping[str, str]:
        """The column that each output is compared with."""
        if isinstance(self.reference, str):
            return {outputs[0]: self.reference}
        return self.reference


def _numbered(candidates: Sequence[Mapping[str, str]]) -> str:
    lines = (f"[{n}] {canonical_json(shown)}" for n, shown in enumerate(candidates, start=1))
    return "\n".join(lines)
