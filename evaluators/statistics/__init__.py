"""Statistics of scores: confidence intervals, and calibration of judges."""

from evaluators.statistics.calibration import Calibration
from evaluators.statistics.intervals import Interval, mean_interval, paired_interval

__all__ = ["Calibration", "Interval", "mean_interval", "paired_interval"]
