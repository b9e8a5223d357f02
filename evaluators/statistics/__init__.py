"""Statistics: intervals for means and paired differences, a judge's errors taken out of them, and a
test that may be peeked at."""

from evaluators.statistics.calibration import Calibration
from evaluators.statistics.intervals import Interval, mean_interval, paired_interval
from evaluators.statistics.paired_test import PairedTest

__all__ = ["Calibration", "Interval", "PairedTest", "mean_interval", "paired_interval"]
