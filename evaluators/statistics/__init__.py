"""Statistics of scores: confidence intervals, and calibration of judges."""

from evaluators.statistics.calibration import Calibration
from evaluators.statistics.intervals import (
    Interval,
    difference_interval,
    mean_interval,
    paired_interval,
    stratified_interval,
)

__all__ = [
    "Calibration",
    "Interval",
    "difference_interval",
    "mean_interval",
    "paired_interval",
    "stratified_interval",
]
