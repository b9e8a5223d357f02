"""Statistics of scores: confidence intervals, paired comparisons, and calibration of judges."""

from evaluators.statistics.calibration import Calibration
from evaluators.statistics.intervals import Interval, mean_interval, paired_interval
from evaluators.statistics.paired_probability import probability_better
from evaluators.statistics.paired_test import PairedTest

__all__ = [
    "Calibration",
    "Interval",
    "PairedTest",
    "mean_interval",
    "paired_interval",
    "probability_better",
]
