"""A language model sees all candidates and decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Verdict,
    distinct,
    elect,
    everyone,
    validated,
    vote,
)
from pipelines.aggregators.role import CANDIDATES, Role
from pipelines.aggregators.selection.judging import numbered

PICK = Role(
    CANDIDATES,
    "choice: int",
    "Other models were told:\n\n{task}\n\nThe candidates are what they answered, numbered. Choose "
    "the best one by its number.",
)
WRITE = Role(
    CANDIDATES,
    "",
    "{task}\n\nThe candidates are what other models answered; some may be wrong. Weigh them, and "
    "give the right answer.",
)


@validated
class Judge(Aggregator):
    """A `judge` sees the distinct answers at once, and picks one or writes its own.

    After Networks of Networks (arXiv 2407.16831), and Mixture of Agents (2406.04692) where it
    writes. If all agree, it is not asked. If it fails or writes nothing, the majority decides.
    """

    answer: Literal["pick", "write"] = "pick"
    """Whether it chooses one by its number, or gives an answer of its own."""

    @property
    def roles(self) -> Mapping[str, Role]:
        return {"judge": PICK if self.answer == "pick" else WRITE}

    needed: ClassVar = {"judge"}
    choices: ClassVar = {"answer": ("pick", "write")}

    def aggregate(self, members: Members) -> Verdict | None:
        answers = members.ask(everyone(members))
        candidates, width = distinct(answers), len(members.models)
        chosen = self._chosen(members, candidates) if len(candidates) > 1 else None
        return elect(chosen, answers, width) if chosen else vote(answers, width)

    def _chosen(self, members: Members, candidates: Sequence[Answer]) -> Answer | None:
        """None if the judge failed or wrote nothing, or its choice is none."""
        reply = members.consult("judge", [numbered(candidates)])[0]
        if reply is None:
            return None
        if self.answer == "write":
            written = Answer(None, reply)
            return None if written.empty else written
        number: int = reply["choice"]
        if not 1 <= number <= len(candidates):
            problem = f"the judge chose {number} of {len(candidates)} candidates"
            members.failed("unparsable", problem)
            return None
        return candidates[number - 1]
