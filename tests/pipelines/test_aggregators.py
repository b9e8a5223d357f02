"""Aggregators: what each must do, and how the majority is counted."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import PipelineError, majority_vote
from pipelines.aggregators import MajorityVote, aggregator
from pipelines.aggregators.majority_vote import normalised

answers = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(["Paris", "paris", "Lyon", ""]))
records = st.lists(
    st.fixed_dictionaries({"answer": answers, "sure": st.booleans()}), min_size=1, max_size=7
)


class TestMajorityVote:
    """The conformance tests of any aggregator, and below them what is peculiar to this one."""

    made = aggregator("majority_vote")

    @given(records)
    def test_the_winner_is_a_member_and_nothing_is_changed(self, given: list[Any]) -> None:
        before = copy.deepcopy(given)
        assert 0 <= self.made.aggregate(given) < len(given)
        assert given == before

    @given(records)
    def test_the_same_predictions_give_the_same_winner(self, given: list[Any]) -> None:
        assert self.made.aggregate(given) == self.made.aggregate(copy.deepcopy(given))

    @given(st.fixed_dictionaries({"answer": answers}), st.integers(1, 5))
    def test_one_voice_is_heard(self, record: dict[str, Any], width: int) -> None:
        assert self.made.aggregate([record] * width) == 0

    @given(records)
    def test_nobody_has_more_votes_than_the_winner(self, given: list[Any]) -> None:
        ballots = [(normalised(r["answer"]), normalised(r["sure"])) for r in given]
        heard = [ballot for ballot in ballots if any(ballot)] or ballots
        winner = ballots[self.made.aggregate(given)]
        assert all(heard.count(winner) >= heard.count(ballot) for ballot in heard)
        assert ballots.index(winner) == self.made.aggregate(given)


@pytest.mark.parametrize(
    ("given", "winner"),
    [
        (["Lyon", "Paris", "paris."], "Paris"),
        (["Lyon", "Paris"], "Lyon"),
        (["B", "A", "A", "B"], "B"),
        (["", "", "Paris"], "Paris"),
        ([None, None], None),
        (["1,000", "1000.0", "100"], "1,000"),
        ([4, 4.0, 5], 4),
        (["1, 2", "12", "12"], "12"),
        (["(I)", "i", "J"], "(I)"),
    ],
)
def test_the_vote_as_a_function_module_sees_it(given: list[Any], winner: Any) -> None:
    ballots = {f"answer_{number}": answer for number, answer in enumerate(given)}
    assert majority_vote(**ballots) == winner


@pytest.mark.parametrize(
    "same",
    [
        ["Paris", " paris ", "**Paris**", '"Paris".', "PARIS", "\u201cParis\u201d"],
        ["1000", "1,000", "1000.00", "+1000", "01000", 1000, 1000.0],
        ["0", "-0", "0.0", ".0"],
        [".5", "0.50", 0.5],
        ["C", "(c)", "C.", "(C)."],
        ["caf\u00e9", "cafe\u0301"],
        [True, "true", "True"],
        [{"b": 1, "a": [2]}, {"a": [2], "b": 1}],
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
        ("x\u00b2", "x2"),
        ("12345678901234567890123456789012345", "12345678901234567890123456789012346"),
        ("not guilty", "guilty"),
        (True, 1),
    ],
)
def test_answers_that_mean_different_things(one: Any, other: Any) -> None:
    assert normalised(one) != normalised(other)


def test_an_unknown_aggregator_is_answered_with_the_nearest() -> None:
    with pytest.raises(PipelineError, match="unknown aggregator 'mojority'; nearest: 'majority_"):
        aggregator("mojority")
    assert isinstance(aggregator("majority_vote"), MajorityVote)
