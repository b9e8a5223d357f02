"""When two answers mean the same."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.aggregators.normalising import admits_doubt, normalised


@pytest.mark.parametrize(
    "same",
    [
        ["Paris", " paris ", "**Paris**", '"Paris".', "PARIS", "\u201cParis\u201d"],
        ["1000", "1,000", "1000.00", "+1000", "01000", 1000, 1000.0],
        ["0", "-0", "0.0", ".0"],
        [".5", "0.50", 0.5],
        ["C", "(c)", "C.", "(C).", "C)", "c)."],
        ["caf\u00e9", "cafe\u0301"],
        [True, "true", "True"],
        [{"b": 1, "a": [2]}, {"a": [2], "b": 1}],
        [{1: 2, "b": 3}, {1: 2, "b": 3}],  # keys that have no order
        [["\u00c9"], ["\u00e9"]],
    ],
)
def test_answers_that_mean_the_same(same: list[Any]) -> None:
    assert len({normalised(answer) for answer in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5", "-5"),
        ("5!", "5"),
        ("[1, 2)", "[1, 2]"),
        ("(1, 2)", "[1, 2]"),
        ("1,2", "12"),
        ("(a", "a"),
        ("7)", "7"),
        ("x\u00b2", "x2"),
        ("12345678901234567890123456789012345", "12345678901234567890123456789012346"),
        ("not guilty", "guilty"),
        ("42", "42 (approximately)"),
        ("42 km", "42 m"),
        ({1: 2, "b": 3}, {1: 2, "b": 4}),
        (True, 1),
    ],
)
def test_answers_that_mean_different_things(one: Any, other: Any) -> None:
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize(
    "text",
    [
        "I don't know",
        "I do not know.",
        "i'm not sure",
        "It cannot be determined",
        "Unknown",
        "I don\u2019t know; perhaps 7",
        "No idea",
    ],
)
def test_some_answers_admit_doubt(text: str) -> None:
    assert admits_doubt({"unit": "m", "answer": text})


@pytest.mark.parametrize(
    "text", ["42", "The Unknown Soldier", "know", "", None, 7, "unknown pleasures"]
)
def test_others_do_not(text: Any) -> None:
    assert not admits_doubt({"answer": text})
