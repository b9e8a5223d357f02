"""Checks, scores and keys that the tests name."""

from __future__ import annotations


def is_number(question: str, answer: str, unit: str) -> bool:
    return answer.replace(".", "").isdigit()


def length(question: str, answer: str, unit: str) -> int:
    return len(answer)


def value(question: str, answer: str, unit: str) -> float:
    return float(answer)


def sign(question: str, answer: str, unit: str) -> str:
    return "negative" if answer.startswith("-") else "positive"


def other_fields(question: str, text: str) -> bool:
    return True
