"""The vote if members agree well enough, else one member's greedy answer."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from pipelines.aggregators.aggregator import (
    Aggregator,
    Members,
    Verdict,
    elect,
    everyone,
    validated,
    vote,
)
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from search_spaces import ModuleConfig


@validated
class ConfidentVote(Aggregator):
    """The majority's answer if its share reaches `threshold`, else the greedy answer of `member`.

    After Gemini's uncertainty-routed CoT@32 (arXiv 2312.11805). The greedy answer is
    another call, at temperature 0; if it fails or is empty, the majority decides.
    """

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Least share of members that must agree."""
    member: int = 0
    """The member to ask greedily: a place from 0, or from the end if negative."""

    asks_again: ClassVar = 1
    """The member that is asked if the vote is in doubt."""

    choices: ClassVar = {"threshold": (0.4, 0.6, 0.8)}

    def check(self, config: ModuleConfig, module: Module) -> None:
        """The member must be there."""
        if not -config.width <= self.member < config.width:
            raise PipelineError(
                f"member must be one of {config.width}, from 0, but got {self.member}"
            )

    def aggregate(self, members: Members) -> Verdict | None:
        width = len(members.models)
        answers = members.ask(everyone(members))
        majority = vote(answers, width)
        if majority and majority.agreement >= self.threshold - 1e-9:
            return majority
        greedy = members.ask([self.member % width], greedy=True)
        if not greedy or (majority and greedy[0].empty):
            return majority
        return elect(greedy[0], answers, width)
