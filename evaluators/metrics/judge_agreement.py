"""How far the judge of a metric agrees with people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.statistics import Calibration


@dataclass(frozen=True)
class JudgeAgreement:
    """What is known of a judge: by name alone, or measured on answers that people have scored."""

    model: str
    """The judge's label."""
    labels: int = 0
    """How many human labels it was compared with; without any, its agreement is unknown."""
    agreement: float | None = None
    """Share in [0, 1] of labels that it agrees with: above 0.5 it accepts an answer, below it does
    not, and 0.5 itself agrees by half. None where labels are graded."""
    kappa: float | None = None
    """The same beyond chance (Cohen, 1960): 1 is perfect, 0 is what chance would give."""
    correlation: float | None = None
    """Pearson's, of its scores and graded labels; None where labels are all 0 or 1."""
    calibration: Calibration | None = None
    """The line by which means and gains are corrected."""

    @property
    def slope(self) -> float | None:
        """How much its score rises where people's rises by 1; 1 is perfect, 0 says nothing."""
        return self.calibration.fitted.slope if self.calibration else None

    @property
    def offset(self) -> float | None:
        """What it gives to answers to which people give 0."""
        return self.calibration.fitted.offset if self.calibration else None


def judge_agreement(model: str, judge: Sequence[float], human: Sequence[float]) -> JudgeAgreement:
    """Compare a judge's scores with people's of the same answers, all in [0, 1].

    Args:
        model: the judge's label.
        judge: its scores.
        human: people's, in the same order; of at least two different values.
    """
    calibration = Calibration.fit(judge, human)
    if any(score not in (0, 1) for score in human):
        correlation = _correlation(judge, human)
        return JudgeAgreement(model, len(human), correlation=correlation, calibration=calibration)
    verdicts, labels = (np.sign(np.asarray(judge) - 0.5) + 1) / 2, np.asarray(human)
    agreement = float(np.mean(1 - np.abs(verdicts - labels)))
    kappa = _beyond_chance(agreement, float(verdicts.mean()), float(labels.mean()))
    return JudgeAgreement(model, len(human), agreement, kappa, calibration=calibration)


def _beyond_chance(agreement: float, accepted: float, right: float) -> float:
    by_chance = accepted * right + (1 - accepted) * (1 - right)
    return (agreement - by_chance) / (1 - by_chance)


def _correlation(judge: Sequence[float], human: Sequence[float]) -> float:
    """0 for a judge that says the same of everything."""
    return float(np.corrcoef(judge, human)[0, 1]) if np.ptp(judge) > 0 else 0.0
