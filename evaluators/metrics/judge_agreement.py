"""Agreement between the judge of a metric and people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.statistics import Calibration


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
