"""A language model sorts out candidates, and the rest is put to the vote."""

from __future__ import annotations

from typing import ClassVar

from pipelines.aggregators.aggregator import (
    Aggregator,
    Members,
    Verdict,
    elect,
    everyone,
    tally,
    validated,
)
from pipelines.aggregators.role import YES_OR_NO
from pipelines.aggregators.selection.judging import accepted


@validated
class FilterVote(Aggregator):
    """The vote of those answers that the `filter` accepts (More LM Calls, arXiv 2403.02419).

    Equal answers are shown to it once. If it accepts none, or fails on all, all of them vote.
    """

    roles: ClassVar = {"filter": YES_OR_NO}
    needed: ClassVar = {"filter"}

    def aggregate(self, members: Members) -> Verdict | None:
        answers = members.ask(everyone(members))
        groups = tally(answers)
        if not groups:
            return None
        verdicts = accepted(members, "filter", [group.first for group in groups])
        kept = [group for group, yes in zip(groups, verdicts, strict=True) if yes] or groups
        return elect(kept[0].first, answers, len(members.models))
