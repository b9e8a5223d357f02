"""The label occurs somewhere in the answer."""

from __future__ import annotations

from typing import Any

from evaluators.metrics.metric import LabelMetric, Names
from evaluators.metrics.text import normalised, text_of


def contains(field: Names = None, column: Names = None) -> LabelMetric:
    """1 when every field's answer contains its label as whole words, else 0.

    Both are normalised as for `exact_match`. A number must stand alone: "5" is not in "15", "2.5"
    or "-5". Labels in scripts without spaces between words, such as 東京, may stand anywhere.

    Fields and columns are chosen as for `exact_match`.
    """
    return LabelMetric.of("contains", compare, field, column)


def compare(label: Any, answer: Any) -> float:
    """1.0 or 0.0 for one label and answer; ValueError for an empty label, which is in anything."""
    wanted, text = normalised(label), " ".join(text_of(answer).casefold().split())
    if not wanted:
        raise ValueError("an empty label is contained in any answer")
    if not text.isascii():
        text = normalised(answer)
    start = text.find(wanted)
    while start >= 0:
        if _alone(text, start, start + len(wanted)):
            return 1.0
        start = text.find(wanted, start + 1)
    return 0.0


def _alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is neither part of a longer word nor of a longer number."""
    before, after = text[:start][-2:], text[end : end + 2]
    first, last = text[start], text[end - 1]
    if _joins(first) and before and _joins(before[-1]):
        return False
    if _joins(last) and after and _joins(after[0]):
        return False
    if first.isdigit() and before[-1:] in {"-", "−"} and not _joins(before[:-1]):
        return False
    if first.isdigit() and before[-1:] in {".", ","} and before[:-1].isdigit():
        return False
    return not (last.isdigit() and after[:1] in {".", ","} and after[1:].isdigit())


def _joins(character: str) -> bool:
    """Digits, and letters of scripts with case, which are those that put spaces between words."""
    return character.isdigit() or character.lower() != character.upper()
