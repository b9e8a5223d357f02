"""Whether a tuned pipeline's scores have changed since they were measured on the holdout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluators.outcome import Evaluation
from evaluators.statistics import Interval, difference_interval, paired_interval
from optimizer.formatting import counted
from optimizer.results.held_out_scores import HeldOutScores

_LEVEL = 0.05
"""Chance of reporting any change where there is none; several comparisons share it."""


@dataclass(frozen=True)
class Comparison:
    """The scores of some rows against those that were recorded."""

    paired: bool
    """Whether the rows are recorded examples; else they are others, compared with all of these."""
    examples: int
    """How many rows."""
    change: Interval
    """New minus recorded mean score."""

    @property
    def verdict(self) -> str:
        """`no change shown (-1.2 points [-5.0, +3.1])`, `worse by 6.0 points [2.0, 10.0]`."""
        mean, low, high = (100 * x for x in (self.change.mean, self.change.low, self.change.high))
        if high < 0:
            return f"worse by {-mean:.1f} points [{-high:.1f}, {-low:.1f}]"
        if low > 0:
            return f"better by {mean:.1f} points [{low:.1f}, {high:.1f}]"
        return f"no change shown ({mean:+z.1f} points [{low:+z.1f}, {high:+z.1f}])"

    def __str__(self) -> str:
        rows = "held-out example" if self.paired else "other example"
        return f"{counted(self.examples, rows)}: {self.verdict}"


@dataclass(frozen=True)
class Drift:
    """New scores against the recorded held-out ones; `print(drift)` says it in a sentence each.

    The same examples tell whether the models or the pipeline have changed; others also tell
    whether the inputs or labels have.
    """

    recorded: int
    """How many held-out examples have a recorded score."""
    comparisons: tuple[Comparison, ...]
    """Paired on recorded examples, and unpaired on others, where there are any. Their intervals
    hold all with 95%."""
    replayed: int
    """How many recorded examples were answered from the cache alone: nothing new is known of
    them, and they are not compared."""

    @classmethod
    def between(cls, recorded: HeldOutScores, new: Evaluation, keys: Sequence[str]) -> Drift | None:
        """Compare; None if nothing was scored. `keys` are those of all examples, by index."""
        known = recorded.by_key
        pairs: list[tuple[float, float]] = []
        others: list[float] = []
        replayed = 0
        for index, score in sorted(new.scores.items()):
            if earlier := known.get(keys[index]):
                then, calls = earlier.pop(0), new.outcomes[index].trace.calls
                if calls and all(call.cached for call in calls):
                    replayed += 1
                else:
                    pairs.append((round(score, 6), then))
            else:
                others.append(score)
        confidence = 1 - _LEVEL / (bool(pairs) + bool(others) or 1)
        comparisons = []
        if pairs:
            now, earlier_ones = zip(*pairs, strict=True)
            change = paired_interval(now, earlier_ones, confidence)
            comparisons.append(Comparison(True, len(pairs), change))
        if others and recorded.scores:
            change = difference_interval(others, recorded.scores, confidence)
            comparisons.append(Comparison(False, len(others), change))
        if not comparisons and not replayed:
            return None
        return cls(len(recorded.scores), tuple(comparisons), replayed)

    def drops_by_more_than(self, most: float) -> bool:
        """Whether a drop of more than this much, such as 0.02 for 2 points, is shown."""
        return any(comparison.change.high < -most for comparison in self.comparisons)

    def __str__(self) -> str:
        parts = [*map(str, self.comparisons)]
        if self.replayed:
            examples = counted(self.replayed, "held-out example")
            parts.append(
                f"{examples} answered from the cache, where no model is asked: not compared"
            )
        return f"against {counted(self.recorded, 'recorded score')}: {'; '.join(parts)}"
