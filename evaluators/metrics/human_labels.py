"""Answers that people have scored, and the agreement of a judge with them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluators.dataset import Dataset
from evaluators.errors import MetricError
from evaluators.statistics import Calibration
from search_spaces.config import canonical_json
from search_spaces.refusals import nearest

FEWEST = 20
"""Minimum number of labels. With 20, half of them 0 and half 1, a judge must agree with 15 for the
95% interval of its slope to lie above 0."""
HUMAN = "human"
"""The column with people's scores."""

_WORDS = {"true": 1.0, "false": 0.0}  # in a .csv all values are text


@dataclass(frozen=True)
class HumanLabels:
    """Rows with a pipeline's inputs and outputs, and people's score of each."""

    answers: Dataset
    scores: tuple[float, ...]
    """In [0, 1], in the order of the answers."""

    @classmethod
    def load(
        cls, data: Any, columns: Sequence[str], outputs: Sequence[str] = (), *, certain: bool = True
    ) -> HumanLabels:
        """Load and check labels.

        Args:
            data: anything that `Dataset.load` accepts.
            columns: required columns besides `human` and the answers.
            outputs: columns of the answers.
            certain: whether all of `outputs` are required; otherwise one of them is enough.

        Raises:
            MetricError: a column is missing (the message names the nearest), a score is not in
                [0, 1], there are fewer than 20 labels, fewer than 2 differ from the most frequent
                score, or an answer occurs twice.
            DatasetError: the data cannot be read.
        """
        answers = Dataset.load(data, minimum=0)
        if len(answers) < FEWEST:
            raise MetricError(
                f"at least {FEWEST} human labels are needed to measure a judge, "
                f"but there are {len(answers)}"
            )
        answered = [field for field in outputs if certain or field in answers.columns]
        there = ", ".join(answers.columns)
        if outputs and not answered:
            raise MetricError(
                f"the human labels need at least one of the columns {', '.join(outputs)}, but they "
                f"have only {there}"
            )
        needed = (*columns, *answered)
        for column in (*needed, HUMAN):
            if column not in answers.columns:
                raise MetricError(
                    f"the human labels need a column {column!r}, which they do not have"
                    f"{nearest(column, answers.columns)} (columns: {there})"
                )
        scores = tuple(_score(row[HUMAN], n) for n, row in enumerate(answers, start=1))
        commonest, count = Counter(scores).most_common(1)[0]
        if len(scores) - count < 2:  # one label can't show how often the judge errs on its kind
            raise MetricError(
                "human labels must show good answers and bad ones, at least 2 that differ from the "
                f"others, but {count} of {len(scores)} are {commonest:g}"
            )
        seen: dict[str, int] = {}
        for row, answer in enumerate(answers, start=1):
            first = seen.setdefault(canonical_json([answer[column] for column in needed]), row)
            if first != row:  # the judge's verdict would be the same, and count twice
                raise MetricError(
                    f"human labels must be of distinct answers, but rows {first} and {row} have "
                    "the same answer to the same inputs; give it once, with the mean of the scores"
                )
        return cls(answers, scores)


def _score(given: Any, row: int) -> float:
    try:
        score = _WORDS.get(given.strip().lower(), given) if isinstance(given, str) else given
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:  # NaN fails this too
        raise MetricError(
            f"{HUMAN!r} must be a number in [0, 1], or a truth value, but in row {row} of the "
            f"human labels it is {given!r}"
        )
    return number


@dataclass(frozen=True)
class JudgeAgreement:
    """A judge's agreement with people, measured on answers that they have scored too."""

    model: str
    """The judge's label."""
    labels: int = 0
    """Number of human labels; with 0, the agreement is unknown and the fields below are None."""
    agreement: float | None = None
    """Fraction of labels in [0, 1] that the judge agrees with. A score above 0.5 accepts the
    answer, one below rejects it, and 0.5 counts half. None where labels are graded."""
    kappa: float | None = None
    """Agreement corrected for chance (Cohen, 1960): 1 is perfect, 0 what chance would give."""
    correlation: float | None = None
    """Pearson correlation with graded labels; None where labels are all 0 or 1."""
    calibration: Calibration | None = None
    """The fitted line that corrects means and gains."""

    @property
    def slope(self) -> float | None:
        """Change in its mean score per unit of people's score: 1 is perfect, 0 uninformative."""
        return self.calibration.fitted.slope if self.calibration else None

    @property
    def offset(self) -> float | None:
        """Its mean score for answers that people score 0."""
        return self.calibration.fitted.offset if self.calibration else None


def judge_agreement(model: str, judge: Sequence[float], human: Sequence[float]) -> JudgeAgreement:
    """Compare a judge's scores with people's of the same answers, in the same order.

    All scores are in [0, 1], and people's of at least two different values.
    """
    calibration = Calibration.fit(judge, human)
    if any(score not in (0, 1) for score in human):
        correlation = float(np.corrcoef(judge, human)[0, 1]) if np.ptp(judge) > 0 else 0.0
        return JudgeAgreement(model, len(human), correlation=correlation, calibration=calibration)
    accepts, right = (np.sign(np.asarray(judge) - 0.5) + 1) / 2, np.asarray(human)
    agreement = float(np.mean(1 - np.abs(accepts - right)))
    accepted, share = float(accepts.mean()), float(right.mean())
    by_chance = accepted * share + (1 - accepted) * (1 - share)
    kappa = (agreement - by_chance) / (1 - by_chance)
    return JudgeAgreement(model, len(human), agreement, kappa, calibration=calibration)
