"""DSPy programs to be tuned, and what the tests bind them to."""

from __future__ import annotations

from typing import Any

import dspy

from pipelines.adapters.dspy_programs import DSPyPipeline, from_dspy
from pipelines.adapters.dspy_programs.bound import BoundDSPyProgram
from pipelines.gateway.call import LMCall
from pipelines.programs.memo import Memo
from search_spaces import PipelineConfig
from tests.pipelines.scripted_session import MODELS, ScriptedSession


class LocateSolve(dspy.Module):
    """The pattern of that name, as one would write it with DSPy."""

    def __init__(self) -> None:
        super().__init__()
        told = "Extract the task whose ID is asked for."
        self.locate = dspy.Predict(dspy.Signature("table, question -> task", told))
        self.solve = dspy.Predict("task -> answer")

    def forward(self, table: str, question: str) -> dspy.Prediction:
        task = self.locate(table=table, question=question).task
        return dspy.Prediction(answer=self.solve(task=task).answer)


class Single(dspy.Module):
    """One predictor, and a `forward` that does what a test says."""

    def __init__(self, signature: Any = "question -> answer", **attributes: Any) -> None:
        super().__init__()
        self.answer = dspy.Predict(signature)
        self.__dict__.update(attributes)

    def forward(self, question: str) -> Any:
        return self.answer(question=question)


def bound(
    program: dspy.Module | DSPyPipeline,
    session: ScriptedSession | None = None,
    config: PipelineConfig | None = None,
    memo: Memo | None = None,
) -> BoundDSPyProgram:
    """The program, all on model `a` unless the config says else."""
    pipeline = program if isinstance(program, DSPyPipeline) else from_dspy(program)
    account: Any = session or ScriptedSession()
    made = pipeline.bind(config or pipeline.default_config("a"), MODELS, account, memo)
    assert isinstance(made, BoundDSPyProgram)
    return made


def prompt(call: LMCall) -> str:
    """All that a call says."""
    return "\n".join(message["content"] for message in call.messages)
