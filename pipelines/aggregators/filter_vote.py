"""A language model sorts out candidates, and the rest is put to the vote."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from pipelines.aggregators.aggregator import Aggregator, Members, Verdict, elect, everyone, tally
from pipelines.aggregators.judging import accepted
from pipelines.aggregators.role import YES_OR_NO, Role


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FilterVote(Aggregator):
    """The vote of those answers that the `filter` accepts (More LM Calls, arXiv 2403.02419).

    Equal answers are shown to it once. If it accepts none, or fails on all, all of them vote.
    """

    @property
    def roles(self) -> Mapping[str, Role]:
        """The roles that it consults."""
        return {"filter": YES_OR_NO}

    @property
    def needed(self) -> Collection[str]:
        """The roles that it requires."""
        return {"filter"}

    def aggregate(self, members: Members) -> Verdict | None:
        """The answer that most members gave among those accepted."""
        answers = members.ask(everyone(members))
        groups = tally(answers)
        if not groups:
            return None
        verdicts = accepted(members, "filter", [group.first for group in groups])
        kept = [group for group, yes in zip(groups, verdicts, strict=True) if yes] or groups
        return elect(kept[0].first, answers, len(members.models))
