"""The answer with the highest score."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import ClassVar

from pipelines.aggregators.aggregator import Answer, Members, Selection, check_one, tally, validated
from pipelines.aggregators.role import CANDIDATE, Role
from pipelines.aggregators.selection.checking import FunctionName, check_function, finite, scores
from pipelines.modules.module import Module
from search_spaces import ModuleConfig

SCORER = Role(
    CANDIDATE,
    "score: float",
    "Another model was told:\n\n{task}\n\nThe candidate is what it answered. Score it from 0, "
    "surely wrong, to 1, surely right.",
)


@validated
class BestOf(Selection):
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

    def select(self, members: Members, answers: Sequence[Answer]) -> Answer:
        candidates = [group.first for group in tally(answers)]
        if self.function:
            return best(candidates, scores(members, self.function, candidates))
        replies = members.consult("scorer", [answer.shown for answer in candidates])
        found = [finite(reply["score"]) if reply else None for reply in replies]
        for reply, score in zip(replies, found, strict=True):
            if reply and score is None:
                problem = f"a score must be a finite number, but the scorer said {reply['score']!r}"
                members.failed("unparsable", problem)
        return best(candidates, found)


def best(candidates: Sequence[Answer], found: Sequence[float | None]) -> Answer:
    """The candidate with the highest score, the first of equals; None ranks last."""
    numbers = [-math.inf if score is None else score for score in found]
    return candidates[numbers.index(max(numbers))]
