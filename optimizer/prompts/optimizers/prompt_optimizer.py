"""What a prompt optimizer is: one of DSPy's, told how much it may try."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from optimizer.prompts.workbench import Student, Workbench


@dataclass(frozen=True)
class Room:
    """How much one run may try."""

    runs: int
    """New runs of the pipeline, about."""
    threads: int
    seed: int


class PromptOptimizer(ABC):
    """One of DSPy's optimizers. A new one is a file of its own, and a line in `OPTIMIZERS`."""

    name: str
    fewest_runs: int
    """With less room it is of no use."""

    @abstractmethod
    def compile(
        self,
        student: Student,
        dataset: Sequence[dspy.Example],
        workbench: Workbench,
        writer: dspy.LM,
        room: Room,
    ) -> Any:
        """Let DSPy look for a better prompt; what it tries is noted by the workbench.

        Args:
            student: the program with the one predictor that may change.
            dataset: examples to try prompts on.
            workbench: says how good a run was, and why.
            writer: the model that writes prompts.
            room: how much may be tried.

        Raises:
            Exception: whatever DSPy's optimizer raises.
            BudgetExhausted: the calls can't be paid.
        """


def score_metric(workbench: Workbench) -> Any:
    """The metric as DSPy calls it: `metric(example, prediction, trace) -> float`."""

    def score(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> float:
        return workbench.score(example.example_number, prediction.outcome)

    return score
