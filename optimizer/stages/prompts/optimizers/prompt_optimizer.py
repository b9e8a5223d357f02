"""What a prompt optimizer is: one of DSPy's, told how much it may try."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import dspy

from optimizer.stages.prompts.workbench import Workbench

GOOD = 1.0
"""What a run must score to become a worked example."""


@dataclass(frozen=True)
class Room:
    """What one run of an optimizer has to work with."""

    writer: dspy.LM
    """The model that writes prompts."""
    runs: int
    """New runs of the pipeline, about."""
    threads: int
    seed: int
    """Other ones bring other draws."""


class PromptOptimizer(ABC):
    """One of DSPy's optimizers. A new one is a file of its own, and a line in `OPTIMIZERS`."""

    name: str
    fewest_runs: int
    """With less room it is of no use."""

    @abstractmethod
    def compile(self, workbench: Workbench, room: Room) -> Any:
        """Let DSPy look for a better prompt: the program that it ends with.

        Args:
            workbench: has the program, with the one predictor that may change, and the examples;
                says how good a run was, and why; and notes what is tried.
            room: how much may be tried, and who writes.

        Raises:
            Exception: whatever DSPy's optimizer raises.
            BudgetExhausted: the calls can't be paid.
        """


def score_metric(workbench: Workbench) -> Any:
    """The metric as DSPy calls it: `metric(example, prediction, trace) -> float`."""

    def score(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> float:
        return workbench.score(example.example_number, prediction.outcome)

    return score
