"""Programs that can be imported by name, with DSPy alone."""

from __future__ import annotations

from typing import Any, Literal

import dspy
import pydantic


class Person(pydantic.BaseModel):
    name: str
    age: int


class Extract(dspy.Signature):
    """Who is it, and how is the mood?"""

    text: str = dspy.InputField()
    person: Person = dspy.OutputField()
    mood: Literal["good", "bad"] = dspy.OutputField()


class Extracting(dspy.Module):
    def __init__(self, hops: int = 1) -> None:
        super().__init__()
        self.hops = hops
        self.extract = dspy.ChainOfThought(Extract)
        self.comment = dspy.Predict("person: str, mood -> comment")

    def forward(self, text: str, tone: str = "dry") -> Any:
        said = self.extract(text=text)
        comment = self.comment(person=said.person.name, mood=said.mood).comment
        return dspy.Prediction(comment=comment, person=said.person, tone=tone)


class Needing(Extracting):
    def __init__(self, retriever: Any) -> None:
        super().__init__()
        self.retriever = retriever


class Breaking(Extracting):
    def __init__(self) -> None:
        raise OSError("no index")
