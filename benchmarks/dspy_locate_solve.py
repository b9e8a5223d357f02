"""The pipeline of `locate_solve` as a DSPy program, in the words that the pattern has."""

from __future__ import annotations

import dspy

from pipelines.patterns import locate_solve


class LocateSolve(dspy.Module):
    """`locate` finds the task in the table, `solve` solves it."""

    def __init__(self) -> None:
        super().__init__()
        locate, solve = locate_solve().modules
        self.locate = dspy.Predict(dspy.Signature(locate.signature, locate.instructions))
        self.solve = dspy.Predict(solve.signature)

    def forward(self, table: str, question: str) -> dspy.Prediction:
        """The answer, by the task."""
        return self.solve(task=self.locate(table=table, question=question).task)
