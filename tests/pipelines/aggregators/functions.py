"""Checks, scores and keys that the tests name, and an aggregator as users write theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.aggregators import Aggregator, Members, Verdict
from pipelines.aggregators.aggregator import everyone, vote
from pipelines.aggregators.role import YES_OR_NO, Role
from pipelines.aggregators.selection.judge import PICK


class NoMethod(Aggregator):
    """Has no `aggregate`."""


class Plain:
    """Does not inherit."""

    def aggregate(self, members: Members) -> Verdict | None:
        return None


class Raises(Aggregator):
    """Cannot be made."""

    def __init__(self) -> None:
        raise KeyError("setting")

    def aggregate(self, members: Members) -> Verdict | None:
        return None


@dataclass(frozen=True)
class Wrong(Aggregator):
    """Has properties that are not as they must."""

    which: str
    value: Any = None

    def aggregate(self, members: Members) -> Verdict | None:
        return None

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__
        return own(self, "value") if name == own(self, "which") else own(self, name)


INSTANCE = Plain()


@dataclass(frozen=True)
class Own(Aggregator):
    """Who is asked depends on a parameter that must be given."""

    asks: tuple[str, ...]
    weights: Any = None
    threshold: Any = None

    def __post_init__(self) -> None:
        if self.threshold == "high":
            raise ValueError("threshold must be a number")

    @property
    def roles(self) -> Mapping[str, Role]:
        kinds = {"judge": PICK, "verifier": YES_OR_NO}
        return {role: kinds[role] for role in self.asks}

    def aggregate(self, members: Members) -> Verdict | None:
        return vote(members.ask(everyone(members)), len(members.models))


@dataclass(frozen=True)
class AsksOthers(Aggregator):
    """Asks members other questions than the module's, and some of them again."""

    again: int = 0

    @property
    def asks_again(self) -> int:
        return self.again

    def aggregate(self, members: Members) -> Verdict | None:
        inputs = [{**members.inputs, "question": f"{place}?"} for place in everyone(members)]
        answers = members.ask(everyone(members), inputs=inputs)
        answers += members.ask(everyone(members)[: self.again], greedy=True)
        return vote(answers, len(answers))


def is_number(question: str, answer: str, unit: str) -> bool:
    return answer.replace(".", "").isdigit()


def length(question: str, answer: str, unit: str) -> int:
    return len(answer)


def value(question: str, answer: str, unit: str) -> float:
    return float(answer)


def value_sign(question: str, answer: str, unit: str) -> bool:
    return float(answer) < 0


def nothing(question: str, answer: str, unit: str) -> None:
    return None


def nan(question: str, answer: str, unit: str) -> float:
    return math.nan


def no_truth(question: str, answer: str, unit: str) -> Any:
    return np.array([True, False])


def no_key(question: str, answer: str, unit: str) -> Any:
    return {1: 2, "b": 3}


def written(question: str, answer: str, unit: str) -> str:
    return answer


def sign(question: str, answer: str, unit: str) -> str:
    return "negative" if answer.startswith("-") else "positive"


def other_fields(question: str, text: str) -> bool:
    return True
