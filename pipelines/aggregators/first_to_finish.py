"""Asks several members at once, and waits only for the quickest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.aggregators.aggregator import Aggregator, Members, Verdict, validated, vote
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from search_spaces import ModuleConfig


@validated
class FirstToFinish(Aggregator):
    """The vote of the first `count` members to finish; the others are cancelled.

    After laconic decoding: of several tries at a problem the shortest tends to be right, and it is
    there first. The cancelled calls are cut off at the provider; what they cost is for the provider
    to say (`Limit(bills_cancelled=False)` where it stops charging).
    """

    count: Annotated[int, Field(ge=1)] = 1
    """How many answers to wait for; a tie among them goes to the quicker."""

    def check(self, config: ModuleConfig, module: Module) -> None:
        """There must be a member to outrun, and one prompt, as one request goes to all."""
        if self.count >= config.width:
            raise PipelineError(
                f"count must be below the width, but got count={self.count} of {config.width}"
            )
        own = sorted({name for member in config.members for name in member.own} - {"temperature"})
        if own:
            raise PipelineError(
                f"members must share one prompt, since one request goes to all of them, but got "
                f"members with {' and '.join(own)} of their own"
            )

    def aggregate(self, members: Members) -> Verdict | None:
        return vote(members.first(self.count), self.count)
