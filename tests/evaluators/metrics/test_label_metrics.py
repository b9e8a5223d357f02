from __future__ import annotations

import enum
import gzip
import json
import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.metrics.contains import compare as contains
from evaluators.metrics.exact_match import compare as exact_match
from evaluators.metrics.f1 import compare as f1
from evaluators.metrics.multiple_choice import compare as multiple_choice
from evaluators.metrics.multiple_choice import letter_of
from evaluators.metrics.numeric_match import compare as numeric_match
from evaluators.metrics.numeric_match import last_number


class Mood(enum.Enum):
    GLAD = "glad"
    SAD = "sad"


class Person(pydantic.BaseModel):
    name: str
    mood: Mood | None = None


@dataclass
class Pair:
    first: int
    second: tuple[str, ...]


class TestExactMatch:
    @pytest.mark.parametrize(
        ("label", "answer"),
        [
            ("Paris", " paris. "),
            ("Paris", '"Paris"'),
            ("Paris", "**Paris**!"),
            ("Paris", "“Paris.”"),
            ("B", "(b)"),
            ("New York", "New\n  York"),
            ("Straße", "STRASSE"),
            ("café", "cafe\u0301"),
            (7, "7"),
            (7.0, "7"),
            (None, ""),
            (True, "true"),
            (["a", "b"], "A, B"),
            ("?", "?"),
            ({"name": "ann", "mood": "glad"}, Person(name="Ann", mood=Mood.GLAD)),
            ({"mood": Mood.GLAD, "name": "Ann"}, {"name": "Ann", "mood": "glad"}),
            ({"name": "Ann"}, Person(name="Ann")),
            ([{"name": "Ann"}], (Person(name="Ann"),)),
            (Pair(1, ("a",)), {"first": 1, "second": ["A"]}),
            (Mood.GLAD, "Glad"),
            ({"a", "b"}, ["b", "a"]),
            ({"a", "b"}, frozenset("ab")),
            ({Mood.GLAD}, ["glad"]),
            ((1, 2), [1, "2"]),
        ],
    )
    def test_same(self, label: Any, answer: Any) -> None:
        assert exact_match(label, answer) == 1.0
        assert exact_match(answer, label) == 1.0

    @pytest.mark.parametrize(
        ("label", "answer"),
        [
            ("Paris", "Paris, France"),
            ("5", "-5"),
            ("5", ".5"),
            ("5", "5%"),
            ("7", "7.0"),
            ("[1, 2)", "(1, 2]"),
            ("C", "C++"),
            ("__init__", "init"),
            ("yes", None),
            ({"name": "Ann", "mood": "sad"}, Person(name="Ann", mood=Mood.GLAD)),
            ({"name": "Ann", "age": 3}, Person(name="Ann")),
            (Mood.GLAD, "GLAD!?no"),
            ({"a", "b"}, ["a"]),
            (["a", "b"], ["b", "a"]),
            (["a", "b"], ["a, b"]),
            ("?", "!"),
        ],
    )
    def test_different(self, label: Any, answer: Any) -> None:
        assert exact_match(label, answer) == 0.0
        assert exact_match(answer, label) == 0.0

    @given(text=st.text(), around=st.sampled_from(['"{}"', "  {}\n", "**{}**", "{}.", "'{}'!"]))
    def test_what_stands_around_does_not_matter(self, text: str, around: str) -> None:
        word = f"x{text}y"
        assert exact_match(word, around.format(word)) == 1.0


class TestContains:
    @pytest.mark.parametrize(
        ("label", "answer"),
        [
            ("Paris", "It is Paris, of course."),
            ("5", "There are 5."),
            ("5", "(5)"),
            ("3.5", "about 3.5 km"),
            ("東京", "答えは東京です"),
            ("-5", "x = -5"),
            ("new york", "in New\nYork City"),
        ],
    )
    def test_in(self, label: str, answer: str) -> None:
        assert contains(label, answer) == 1.0

    @pytest.mark.parametrize(
        ("label", "answer"),
        [
            ("art", "party"),
            ("5", "15 of 52"),
            ("5", "2.5"),
            ("5", "5.25"),
            ("5", "x = -5"),
            ("caf", "café"),
            ("Paris", None),
            ("Paris", ""),
        ],
    )
    def test_not_in(self, label: str, answer: Any) -> None:
        assert contains(label, answer) == 0.0

    def test_an_empty_label_is_no_label(self) -> None:
        with pytest.raises(ValueError, match="empty label"):
            contains(" ", "anything")


class TestNumericMatch:
    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("so 3 + 4 = 7.", 7),
            ("$1,234,567.50", 1234567.5),
            ("-$5", -5),
            ("$-5", -5),
            ("US$12", 12),
            ("a loss of −3.5 m", -3.5),
            ("3-5", 5),
            ("f(x)-5", 5),
            (".5", 0.5),
            ("1.5e-3", 0.0015),
            ("3/4", 0.75),
            ("3 1/2 cups", 3.5),
            (r"\boxed{\frac{3}{4}}", 0.75),
            ("100,2000", 2000),
            ("1, 2, 3", 3),
            ("5kg", 5),
            (12, 12),
            (0.25, 0.25),
            ("12.5%", 12.5),
            (r"12.5\%", 12.5),
        ],
    )
    def test_last_number(self, text: Any, number: float) -> None:
        found = last_number(text)
        assert found is not None
        assert found.value == pytest.approx(number)

    @pytest.mark.parametrize(
        "text", ["", "none", "H2O", "1/0", None, True, float("nan"), "1e999", 10**400]
    )
    def test_no_number(self, text: Any) -> None:
        assert last_number(text) is None

    @pytest.mark.parametrize(
        ("label", "answer", "score"),
        [
            ("1234", "the total is 1,234.0", 1),
            ("50%", "0.5", 1),
            ("0.5", "50%", 1),
            ("50", "50%", 1),
            ("5%", "500%", 0),
            ("0.5", "50", 0),
            ("1000000", "1000000.5", 1),
            ("1000000", "1000002", 0),
            ("0", "0.0", 1),
            ("0", "0.001", 0),
            (7, 7.0, 1),
            ("7", "no idea", 0),
        ],
    )
    def test_score(self, label: Any, answer: Any, score: float) -> None:
        assert numeric_match(label, answer) == score

    def test_tolerance(self) -> None:
        assert numeric_match("3.14159", "3.14", tolerance=1e-3) == 1
        assert numeric_match("3.14159", "3.14", tolerance=1e-4) == 0

    def test_a_label_without_a_number(self) -> None:
        with pytest.raises(ValueError, match="the label 'twelve' has no number"):
            numeric_match("twelve", "12")

    @given(number=st.floats(-1e12, 1e12), words=st.text(alphabet=string.ascii_lowercase + " "))
    def test_any_number_is_found_after_words(self, number: float, words: str) -> None:
        assert numeric_match(number, f"{words} {number!r} {words}") == 1
        assert numeric_match(number, f"{words} {number:,.6f}.", tolerance=1e-3) == 1 or (
            abs(number) < 1e-3
        )


class TestF1:
    @pytest.mark.parametrize(
        ("label", "answer", "score"),
        [
            ("the cat sat", "The cat, sat!", 1.0),
            ("cat sat", "cat", 2 / 3),
            ("cat", "dog", 0.0),
            ("", "", 1.0),
            ("cat", None, 0.0),
            ("cat cat", "cat", 2 / 3),
        ],
    )
    def test_score(self, label: str, answer: Any, score: float) -> None:
        assert f1(label, answer) == pytest.approx(score)

    @given(a=st.text(), b=st.text())
    def test_symmetric_and_bounded(self, a: str, b: str) -> None:
        assert 0.0 <= f1(a, b) <= 1.0
        assert f1(a, b) == f1(b, a)
        assert f1(a, a) == 1.0


class TestMultipleChoice:
    @pytest.mark.parametrize(
        ("text", "letter"),
        [
            ("I", "I"),
            ("(c)", "C"),
            ("**B**", "B"),
            ("The answer is (I).", "I"),
            ("the answer is: A because it floats", "A"),
            ("Answer: d", "D"),
            ("Final Answer:\n\n**E**", "E"),
            ("The correct option is C, since option A is too small.", "C"),
            ("The answer is (A). No, wait: the answer is (B).", "B"),
            ("C) Paris", "C"),
            ("c. Paris", "C"),
            (r"so $\boxed{\text{F}}$ (see (A))", "F"),
            ("I think option H is right", "H"),
            ("I think it's B", "B"),
            ("A cat has nine lives, hence D", "D"),
            ("either way it must be (J)", "J"),
            ("I don't know", None),
            ("A dog", None),
            ("Paris", None),
            ("the answer is a function of x", None),
            ("", None),
            (None, None),
            (2, None),
        ],
    )
    def test_letter(self, text: Any, letter: str | None) -> None:
        assert letter_of(text) == letter

    def test_score(self) -> None:
        assert multiple_choice("(I)", "The answer is (I).") == 1
        assert multiple_choice("I", "The answer is (J).") == 0
        assert multiple_choice("I", "I do not know") == 0

    def test_a_label_without_a_letter(self) -> None:
        with pytest.raises(ValueError, match="the label 2 names no option"):
            multiple_choice(2, "C")

    def test_agrees_with_the_published_parse_of_real_answers(self, shared_data: Path) -> None:
        """Where a text says "answer is (X)" of one letter only, that is what was published."""
        with gzip.open(shared_data / "mmlu_pro_recorded.jsonl.gz", "rt") as lines:
            responses = [r for line in lines for r in json.loads(line)["responses"].values()]
        stated = re.compile(r"answer is \(?([A-J])\)?")
        clear = [r for r in responses if len(set(stated.findall(r["text"]))) == 1]
        agreeing = sum(letter_of(r["text"]) == r["parsed"] for r in clear)
        assert len(clear) > 10_000
        assert agreeing / len(clear) > 0.995
