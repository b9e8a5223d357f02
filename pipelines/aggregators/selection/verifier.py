"""A language model says yes or no to each candidate; the first accepted wins."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipelines.aggregators.aggregator import (
    Aggregator,
    Members,
    Verdict,
    distinct,
    elect,
    everyone,
    validated,
    vote,
)
from pipelines.aggregators.role import YES_OR_NO
from pipelines.aggregators.selection.judging import accepted


@validated
class Verifier(Aggregator):
    """The first answer that the `verifier` accepts (Networks of Networks, arXiv 2407.16831).

    It sees the distinct answers one by one, in the order of members, and is not asked any more
    when it has accepted one: that saves calls, and takes as long as they take in turn.
    `evaluators.statistics.best_of_k` predicts what it brings.
    """

    roles: ClassVar = {"verifier": YES_OR_NO}
    needed: ClassVar = {"verifier"}

    fallback: Literal["first", "vote"] = "vote"
    """What wins if none is accepted: the first answer, or the majority's."""

    choices: ClassVar = {"fallback": ("vote", "first")}

    def aggregate(self, members: Members) -> Verdict | None:
        width = len(members.models)
        answers = members.ask(everyone(members))
        candidates = distinct(answers)
        for answer in candidates:
            if accepted(members, "verifier", [answer])[0]:
                return elect(answer, answers, width)
        if candidates and self.fallback == "first":
            return elect(candidates[0], answers, width)
        return vote(answers, width)
