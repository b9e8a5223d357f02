"""Aggregators: what turns the answers of a wide module's members into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipelines.aggregators.majority_vote import MajorityVote, majority_vote
from pipelines.errors import PipelineError, nearest


class Aggregator(Protocol):
    """Chooses one of several answers to the same question."""

    def aggregate(self, predictions: Sequence[Mapping[str, Any]]) -> int:
        """The index of the winner.

        Args:
            predictions: at least one; each member's output fields but its reasoning, all with
                the same keys, in the order of the members. Must not be changed.

        Returns:
            An index into `predictions`. The same predictions give the same index.
        """
        ...


_AGGREGATORS: Mapping[str, Aggregator] = {"majority_vote": MajorityVote()}


def aggregator(name: str) -> Aggregator:
    """The aggregator of that name.

    Raises:
        PipelineError: there is none; names the nearest.
    """
    if name not in _AGGREGATORS:
        hint = nearest(name, _AGGREGATORS)
        raise PipelineError(f"unknown aggregator {name!r}{hint}", ("aggregator",))
    return _AGGREGATORS[name]


def check_aggregator(name: str | None, width: int) -> None:
    """Whether members of that width have an aggregator.

    Raises:
        PipelineError: there is none of that name, or none is named.
    """
    if name is None:
        known = ", ".join(map(repr, _AGGREGATORS))
        raise PipelineError(f"width {width} needs an aggregator: {known}", ("width",))
    aggregator(name)


__all__ = ["Aggregator", "MajorityVote", "aggregator", "check_aggregator", "majority_vote"]
