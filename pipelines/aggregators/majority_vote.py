"""The answer that most members gave, compared by meaning rather than spelling."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Verdict,
    everyone,
    validated,
    vote,
)
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from search_spaces import ModuleConfig


@validated
class MajorityVote(Aggregator):
    """Most votes win; a tie goes to the answer given first (More LM Calls, arXiv 2403.02419).

    Answers are compared jointly over all fields. A member all of whose fields are empty abstains,
    unless all do.
    """

    weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()
    """Votes by member; one each, if none are given."""

    def check(self, config: ModuleConfig, module: Module) -> None:
        """A weight for every member, if there are any."""
        if self.weights and (len(self.weights) != config.width or not any(self.weights)):
            raise PipelineError(
                f"weights must be one for each of {config.width} members, and not all 0, "
                f"but got {list(self.weights)}"
            )

    def aggregate(self, members: Members) -> Verdict | None:
        answers = members.ask(everyone(members))
        return vote(answers, len(members.models), self.weights)


def majority_vote(**answers: Any) -> Any:
    """The winning answer, as the first to give it wrote it; for use as a function module. The order
    of the arguments is that of the members."""
    given = [Answer(n, {"answer": answer}) for n, answer in enumerate(answers.values())]
    verdict = vote(given, len(given))
    return verdict.answer.record["answer"] if verdict else None
