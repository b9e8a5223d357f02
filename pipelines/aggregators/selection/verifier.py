"""A language model accepts or rejects each candidate; the first accepted wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pipelines.aggregators.aggregator import Answer, Members, Selection, distinct, validated
from pipelines.aggregators.role import YES_OR_NO
from pipelines.aggregators.selection.checking import accepted


@validated
class Verifier(Selection):
    """The first answer that the `verifier` accepts (Networks of Networks, arXiv 2407.16831).

    It sees the distinct answers one after the other, in the order of members, until it accepts
    one: that saves calls, but takes as long as all of them in turn.
    `evaluators.statistics.best_of_k` predicts what it brings.
    """

    roles: ClassVar = {"verifier": YES_OR_NO}
    needed: ClassVar = {"verifier"}

    fallback: Literal["first", "vote"] = "vote"
    """What wins if none is accepted: the first answer, or the majority's."""

    choices: ClassVar = {"fallback": ("vote", "first")}

    def select(self, members: Members, answers: Sequence[Answer]) -> Answer | None:
        candidates = distinct(answers)
        for answer in candidates:
            if accepted(members, "verifier", [answer])[0]:
                return answer
        return candidates[0] if self.fallback == "first" else None
