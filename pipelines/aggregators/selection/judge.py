"""A language model sees all candidates and decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pipelines.aggregators.aggregator import Answer, Members, Selection, distinct, validated
from pipelines.aggregators.role import CANDIDATES, Role

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
class Judge(Selection):
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

    def select(self, members: Members, answers: Sequence[Answer]) -> Answer | None:
        candidates = distinct(answers)
        if len(candidates) < 2:
            return None
        lines = (f"[{number}] {answer.shown}" for number, answer in enumerate(candidates, start=1))
        reply = members.consult("judge", ["\n".join(lines)])[0]
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
