"""The twelve kinds of DSPy programs, as a user writes them: in a module, a script or a notebook."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import numpy as np
from pydantic import BaseModel
from shelf import Shelf  # type: ignore[import-not-found]

SUM = "question -> answer"


class OnePredictor(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.solve = dspy.Predict(SUM)

    def forward(self, question: str) -> Any:
        return self.solve(question=question)


class Thinking(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.solve = dspy.ChainOfThought(SUM)

    def forward(self, question: str) -> Any:
        solved = self.solve(question=question)
        return dspy.Prediction(answer=solved.answer, reasoning=solved.reasoning)


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return int(np.add(a, b))


class Agent(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = dspy.ReAct(SUM, tools=[add, self.minus], max_iters=3)

    def minus(self, a: int, b: int) -> int:
        """The difference of two numbers."""
        return a - b

    def forward(self, question: str) -> Any:
        return dspy.Prediction(answer=self.act(question=question).answer)


class Locate(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = dspy.Predict("question -> task")

    def forward(self, question: str) -> Any:
        return self.read(question=question)


class Nested(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.locate = Locate()
        self.solve = dspy.Predict("task -> answer")

    def forward(self, question: str) -> Any:
        return self.solve(task=self.locate(question=question).task)


class Collections(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.readers = [dspy.Predict("question -> draft"), dspy.Predict("question, draft -> task")]
        self.by_kind = {"sum": dspy.ChainOfThought("task -> answer")}

    def forward(self, question: str) -> Any:
        draft = self.readers[0](question=question).draft
        task = self.readers[1](question=question, draft=draft).task
        return dspy.Prediction(answer=self.by_kind["sum"](task=task).answer)


class Awaiting(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = dspy.Predict("question -> task")
        self.solve = dspy.Predict("question, task -> answer")

    async def aforward(self, question: str) -> Any:
        first, second = await asyncio.gather(
            self.read.acall(question=question), self.read.acall(question=question)
        )
        task = min(first.task, second.task)
        return await self.solve.acall(question=question, task=task)


def is_number(arguments: dict[str, Any], prediction: Any) -> float:
    """Whether it is one."""
    return float(str(prediction.answer).isdecimal())


class Refining(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.solve = dspy.Refine(dspy.Predict(SUM), N=2, reward_fn=is_number, threshold=1.0)

    def forward(self, question: str) -> Any:
        return self.solve(question=question)


class InParallel(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
        self.read = dspy.Predict("question -> task")
        self.solve = dspy.Predict("task -> answer")

    def forward(self, question: str) -> Any:
        example = dspy.Example(question=question).with_inputs("question")
        read, solved = self.parallel([(self.read, example), (self.solve_all, example)])
        return dspy.Prediction(answer=solved.answer, task=read.task)

    def solve_all(self, question: str) -> Any:
        return self.solve(task=question)


class Total(BaseModel):
    value: int
    unit: str = "pieces"


class Typed(dspy.Signature):
    """Add."""

    question: str = dspy.InputField()
    total: Total = dspy.OutputField()


class TypedSum(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.solve = dspy.ChainOfThought(Typed)

    def forward(self, question: str) -> Any:
        total = self.solve(question=question).total
        return dspy.Prediction(answer=str(total.value), total=total)


class MultiHop(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()
        self.query = dspy.ChainOfThought("question, notes: list[str] -> query")
        self.solve = dspy.Predict("question, notes: list[str] -> answer")

    def forward(self, question: str) -> Any:
        notes: list[str] = []
        for _ in range(2):
            notes += self.shelf.search(self.query(question=question, notes=notes).query)
        return self.solve(question=question, notes=notes)


class Looking(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look = dspy.Predict("image: dspy.Image, question -> answer")

    def forward(self, image: dspy.Image, question: str) -> Any:
        return self.look(image=image, question=question)


PROGRAMS: dict[str, Any] = {
    "predictor": OnePredictor,
    "chain of thought": Thinking,
    "ReAct with tools": Agent,
    "nested": Nested,
    "lists and dicts": Collections,
    "async": Awaiting,
    "Refine": Refining,
    "Parallel": InParallel,
    "typed": TypedSum,
    "multi-hop": MultiHop,
    "image": Looking,
    "bare": lambda: dspy.ChainOfThought(Typed),
}
