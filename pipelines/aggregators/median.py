"""The median of numbers."""

from __future__ import annotations

import statistics

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from pipelines.aggregators.aggregator import Aggregator, Members, Verdict
from pipelines.aggregators.mean import combined


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Median(Aggregator):
    """The median of each number field, which outliers don't move; everything else as in `mean`."""

    def aggregate(self, members: Members) -> Verdict | None:
        """The median."""
        return combined(members, statistics.median)
