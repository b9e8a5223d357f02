"""Which calls were made on which examples, so that no call is counted or paid for twice.

A set of examples is a whole number with a bit for each example, for fast unions and comparisons.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from evaluators.outcome import Outcome
from optimizer.search.budget.call_groups import CallGroup, ModuleCalls
from pipelines import Tunable

UNANSWERED = ("refusal", "context_window")
"""Kinds of failures of calls that may have brought no reply, so that another config would make the
call again."""


def example_set(examples: Iterable[int]) -> int:
    """The bits of a whole number that stand for these examples."""
    found = list(examples)
    bits = bytearray(max(found, default=0) // 8 + 1)
    for example in found:
        bits[example // 8] |= 1 << example % 8
    return int.from_bytes(bits, "little")


class MadeCalls:
    """The calls that runs of one pipeline have made so far."""

    def __init__(self, pipeline: Tunable) -> None:
        self._pipeline = pipeline
        self._levels = {
            name: place for place, level in enumerate(pipeline.levels) for name in level
        }
        self._ran: dict[str, int] = {}
        """By module key, the examples on which the module needs no further call."""
        self._made: dict[CallGroup, int] = {}
        """By call, the examples on which it was made, or turned out not to be needed by any config
        that could make it."""
        self._settled = cache(self._settled_by)

    def note(self, calls: Sequence[ModuleCalls], outcomes: Mapping[int, Outcome]) -> None:
        """Count what one config has made, by the outcomes of its runs.

        Runs that met an outage do not count: their calls will be made again.
        """
        alike: dict[tuple[str, int, bool], list[int]] = {}
        for example, outcome in outcomes.items():
            if not outcome.outage:
                alike.setdefault(_end_of(outcome), []).append(example)
        for (failed, answered, is_clear), examples in alike.items():
            settled, bits = self._settled(failed), example_set(examples)
            extent = self._extent(calls, failed, answered, is_clear)
            for module in calls:
                if module.module in settled:
                    self._ran[module.key] = self._ran.get(module.key, 0) | bits
                    groups = {"most": module.most, "sure": module.sure}.get(extent, ())
                    for group in groups:
                        self._made[group] = self._made.get(group, 0) | bits

    def ahead(self, coming: Iterable[tuple[Sequence[ModuleCalls], int]]) -> dict[CallGroup, int]:
        """Upper bounds of the new calls, those that configs share with each other counted once.

        Args:
            coming: configs' calls, each with the set of examples that it is to run on.
        """
        wanted: dict[CallGroup, int] = {}
        for calls, examples in coming:
            for module in calls:
                new = examples & ~self._ran.get(module.key, 0)
                if new:
                    for group in module.most:
                        wanted[group] = wanted.get(group, 0) | new
        return {
            group: (new & ~self._made.get(group, 0)).bit_count() for group, new in wanted.items()
        }

    def free(self, calls: Sequence[ModuleCalls]) -> int:
        """The examples on which a run makes no new call, whatever it turns out to need."""
        free = -1
        for module in calls:
            made = -1
            for group in module.most:
                made &= self._made.get(group, 0)
            free &= made | self._ran.get(module.key, 0)
        return free

    def _extent(
        self, calls: Sequence[ModuleCalls], failed: str, answered: int, is_clear: bool
    ) -> str:
        """Which of its calls a run has surely made, with answers: "most", "sure" or "none"."""
        last = self._levels.get(failed, len(self._levels))
        most = sum(len(each.most) for each in calls if self._levels[each.module] <= last)
        if self._pipeline.is_fixed and answered == most:
            return "most"
        return "sure" if is_clear else "none"

    def _settled_by(self, failed: str) -> frozenset[str]:
        """The modules that a run has settled in which this one failed; all if none did.

        Those that ran, and those that read what the failed one did not write: with the same modules
        before them they will never run on that example.
        """
        if not failed:
            return frozenset(self._levels)
        if failed not in self._levels:  # a judge's failure, or that of a program's own code
            return frozenset()
        lost = {failed}
        for name in itertools.chain.from_iterable(self._pipeline.levels):
            if lost.intersection(self._pipeline.dependencies[name]):
                lost.add(name)
        ran = (name for name, level in self._levels.items() if level <= self._levels[failed])
        return frozenset((*ran, *lost))


def _end_of(outcome: Outcome) -> tuple[str, int, bool]:
    """The module that failed, if any; the calls that were answered; and whether all were."""
    if outcome.failure is None and not outcome.members_failed:
        return "", outcome.calls - outcome.asked_again, True
    failures = [each for each in (outcome.failure, *outcome.members_failed) if each is not None]
    failed = outcome.failure.module if outcome.failure else ""
    answered = outcome.calls - outcome.asked_again
    return failed, answered, not any(failure.kind in UNANSWERED for failure in failures)
