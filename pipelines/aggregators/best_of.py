"""The answer with the highest score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Verdict,
    check_one,
    elect,
    everyone,
    tally,
)
from pipelines.aggregators.checking import FunctionName, call_on_each, check_function
from pipelines.aggregators.judging import scored
from pipelines.aggregators.role import CANDIDATE, Role

if TYPE_CHECKING:
    from pipelines.module import Module
    from search_spaces import ModuleConfig

SCORER = Role(
    CANDIDATE,
    "score: float",
    "Another model was told:\n\n{task}\n\nThe candidate is what it answered. Score it from 0, "
    "surely wrong, to 1, surely right.",
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BestOf(Aggregator):
    """The answer that a function or a `scorer` scores highest (AlphaCode, arXiv 2203.07814).

    A tie goes to the answer that more members gave, then to the one given first. An answer whose
    score is no number (the function raised, the scorer failed) is behind all others.
    """

    @property
    def roles(self) -> Mapping[str, Role]:
        """What it consults."""
        return {"scorer": SCORER}

    function: FunctionName | None = None
    """`"package.module:name"`: takes the module's inputs and outputs by name, returns a number or
    a truth value; it may run code or tests."""

    def check(self, config: ModuleConfig, module: Module) -> None:
        """Either a function or a scorer."""
        check_function(self.function, module)
        check_one("a function or a scorer", self.function, config.roles.get("scorer"))

    def aggregate(self, members: Members) -> Verdict | None:
        """The best-scored answer."""
        answers = members.ask(everyone(members))
        candidates = [group.first for group in tally(answers)]
        if not candidates:
            return None
        if self.function:
            scores = call_on_each(members, self.function, candidates)
        else:
            scores = scored(members, "scorer", candidates)
        return elect(best(candidates, scores), answers, len(members.models))


def best(candidates: Sequence[Answer], scores: Sequence[Any]) -> Answer:
    """The candidate with the highest score, the first of equals."""
    numbers = [_number(score) for score in scores]
    return candidates[numbers.index(max(numbers))]


def _number(value: Any) -> float:
    """The score; what is no number is behind all others."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return -math.inf
    return -math.inf if math.isnan(number) else number
