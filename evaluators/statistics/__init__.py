"""Statistics: intervals for means and paired differences, and a test that may be peeked at."""

from evaluators.statistics.intervals import Interval, mean_interval, paired_interval
from evaluators.statistics.paired_test import PairedTest

__all__ = ["Interval", "PairedTest", "mean_interval", "paired_interval"]
