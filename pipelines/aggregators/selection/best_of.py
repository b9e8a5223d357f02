"""The answer with the highest score."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import ClassVar

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Verdict,
    check_one,
    elect,
    everyone,
    tally,
    validated,
)
from pipelines.aggregators.role import CANDIDATE, Role
from pipelines.aggregators.selection.checking import FunctionName, check_function, scores
from pipelines.aggregators.selection.judging import scored
from pipelines.modules.module import Module
from search_spaces import ModuleConfig

SCORER = Role(
    CANDIDATE,
    "score: float",
    "Another model was told:\n\n{task}\n\nThe candidate is what it answered. Score it from 0, "
    "surely wrong, to 1, surely right.",
)


@validated
class BestOf(Aggregator):
    """The answer that a function or a `scorer` scores highest (AlphaCode, arXiv 2203.07814).

    A tie goes to the answer that more members gave, then to the one given first. An answer on which
    the function or the scorer fails, or gives no finite number, ranks last.
    """

    roles: ClassVar = {"scorer": SCORER}

    function: FunctionName | None = None
    """`"package.module:name"`: takes the module's inputs and outputs by name, returns a finite
    number or a truth value; it may run code or tests."""

    @property
    def functions(self) -> Collection[str]:
        return (self.function,) if self.function else ()

    def check(self, config: ModuleConfig, module: Module) -> None:
        """Either a function or a scorer."""
        check_function(self.function, module)
        check_one("a function or a scorer", self.function, config.roles.get("scorer"))

    def aggregate(self, members: Members) -> Verdict | None:
        answers = members.ask(everyone(members))
        candidates = [group.first for group in tally(answers)]
        if not candidates:
            return None
        if self.function:
            found = scores(members, self.function, candidates)
        else:
            found = scored(members, "scorer", candidates)
        return elect(best(candidates, found), answers, len(members.models))


def best(candidates: Sequence[Answer], found: Sequence[float | None]) -> Answer:
    """The candidate with the highest score, the first of equals; None ranks last."""
    numbers = [-math.inf if score is None else score for score in found]
    return candidates[numbers.index(max(numbers))]
