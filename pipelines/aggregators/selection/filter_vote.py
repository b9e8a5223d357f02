"""A language model filters the candidates, and the rest is put to the vote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pipelines.aggregators.aggregator import Answer, Members, Selection, tally, validated
from pipelines.aggregators.role import YES_OR_NO
from pipelines.aggregators.selection.checking import accepted


@validated
class FilterVote(Selection):
    """The vote of those answers that the `filter` accepts (More LM Calls, arXiv 2403.02419).

    Equal answers are shown to it once. If it accepts none, or fails on all, all of them vote.
    """

    roles: ClassVar = {"filter": YES_OR_NO}
    needed: ClassVar = {"filter"}

    def select(self, members: Members, answers: Sequence[Answer]) -> Answer:
        groups = tally(answers)
        verdicts = accepted(members, "filter", [group.first for group in groups])
        kept = [group for group, yes in zip(groups, verdicts, strict=True) if yes] or groups
        return kept[0].first
