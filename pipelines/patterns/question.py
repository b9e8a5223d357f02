"""The question that a pattern answers: inputs, and one answer field."""

from __future__ import annotations

from typing import NamedTuple

from pipelines.errors import PipelineError
from pipelines.modules.signature import signature_fields


class Question(NamedTuple):
    """A signature such as `"table, question -> answer: int"`, taken apart as text."""

    inputs: str
    """The inputs as written: `table, question`."""
    answer: str
    """The answer's name: `answer`."""
    kind: str
    """The answer's type as written, with its colon: `: int`, or empty."""

    def reading(self, *more: str) -> str:
        """The inputs and more fields, as the left side of a signature."""
        return ", ".join(part for part in (self.inputs, *more) if part)


def parse_question(signature: str) -> Question:
    """Split the signature of a whole pattern; raises PipelineError unless it has one output."""
    try:
        outputs = list(signature_fields(signature).outputs)
    except PipelineError as error:
        raise PipelineError(f"bad signature {signature!r}: {error}") from error
    if len(outputs) != 1:
        raise PipelineError(f"bad signature {signature!r}: it must have one output, the answer")
    left, right = signature.split("->")
    _, colon, kind = right.partition(":")
    return Question(left.strip(), outputs[0], f"{colon} {kind.strip()}" if colon else "")
