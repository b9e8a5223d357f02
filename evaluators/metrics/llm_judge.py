"""A language model grades answers by a rubric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluators.metrics.judged import AnyModel, Ask, JudgedMetric, Question, check_text
from evaluators.metrics.metric import Score
from evaluators.metrics.text import text_of
from pipelines import Failure
from search_spaces.config import canonical_json

_INSTRUCTIONS = """\
Grade the candidate: an answer that somebody gave to the other inputs, as JSON by field.

A good answer is described so:

{rubric}

Judge by this description alone; neither length nor a confident tone makes an answer better."""


def llm_judge(
    rubric: str,
    *,
    model: AnyModel | None = None,
    reference: str | None = None,
    labels: Any = None,
) -> LLMJudge:
    """A metric in which a language model grades every answer from 0 to 1, and says why.

    The reason is the metric's feedback, which the diagnoser reads. Nothing is called here.

    Args:
        rubric: what a good answer is, in words.
        model: the judge: one of the models of `optimize`, by its label or name, or any other; by
            default the one among them with the most expensive output tokens, as nothing else is
            known of them beforehand.
        reference: the column of an answer that the judge may see beside the candidate.
        labels: answers that people have scored, to measure the judge and correct for its errors:
            rows or a path as for the dataset, with the pipeline's inputs and outputs and a
            column `human` in [0, 1]; at least 20.

    Raises:
        MetricError: rubric, model or reference is not text, or empty.
    """
    return LLMJudge(rubric, reference, model=model, labels=labels)


@dataclass(frozen=True)
class LLMJudge(JudgedMetric):
    """See `llm_judge`."""

    name = "llm_judge"
    asks = 1

    rubric: str
    reference: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(self.rubric, "llm_judge(rubric) must say in words what a good answer is")
        if self.reference is not None:
            check_text(self.reference, "llm_judge(reference=...) must name a column")

    @property
    def question(self) -> Question:
        """A grade by the rubric."""
        reference = {"reference": "an answer known to be good; others may be as good"}
        return Question(
            _INSTRUCTIONS.format(rubric=self.rubric.strip()),
            {**(reference if self.reference else {}), "candidate": "the answer to grade"},
            verdict="grade",
            kind=float,
            meaning="from 0 (nothing of what makes an answer good) to 1 (all of it)",
            least=0,
            most=1,
        )

    def references(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The column of the reference, if there is one."""
        return (self.reference,) if self.reference else ()

    def judged(self, ask: Ask, example: Any, answer: Mapping[str, Any]) -> Score:
        """The judge's grade."""
        reference = {"reference": text_of(example[self.reference])} if self.reference else {}
        verdict = ask({**reference, "candidate": canonical_json(answer)})
        if isinstance(verdict, Failure):
            return Score(None, failure=verdict)
        return Score(verdict.value, f"graded {verdict.value:g} of 1: {verdict.reason}")
