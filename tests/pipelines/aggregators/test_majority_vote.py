"""How the majority is counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import majority_vote
from pipelines.aggregators.aggregator import Answer, distinct, tally, vote
from pipelines.aggregators.majority_vote import MajorityVote
from pipelines.aggregators.testing import ScriptedMembers

answers = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(["Paris", "paris", "Lyon", ""]))
records = st.lists(
    st.fixed_dictionaries({"answer": answers, "sure": st.booleans()}), min_size=1, max_size=7
)


@given(records)
def test_nobody_has_more_votes_than_the_winner_and_ties_go_to_the_earlier(given: Any) -> None:
    ballots = [Answer(place, record).ballot for place, record in enumerate(given)]
    heard = [ballot for ballot in ballots if any(ballot)] or ballots
    verdict = MajorityVote().aggregate(ScriptedMembers(given))
    assert verdict is not None
    winner = verdict.answer
    assert all(heard.count(winner.ballot) >= heard.count(ballot) for ballot in heard)
    assert winner.member == ballots.index(winner.ballot)
    first_of_rivals = min(
        ballots.index(b) for b in heard if heard.count(b) == heard.count(winner.ballot)
    )
    assert winner.member == first_of_rivals
    assert verdict.agreement == pytest.approx(heard.count(winner.ballot) / len(given))


@given(records)
def test_distinct_answers_are_the_first_of_each_in_the_order_given(given: Any) -> None:
    members = [Answer(place, record) for place, record in enumerate(given)]
    found = distinct(members)
    assert [a.member for a in found] == sorted(a.member or 0 for a in found)
    assert len({a.ballot for a in found}) == len(found) == len(tally(members))


def test_weights_decide() -> None:
    members = ScriptedMembers([{"answer": "a"}, {"answer": "b"}, {"answer": "b"}])
    verdict = MajorityVote(weights=(3, 1, 1)).aggregate(members)
    assert verdict is not None
    assert verdict.answer.member == 0
    assert verdict.agreement == pytest.approx(0.6)


@given(records, st.lists(st.floats(0.1, 5), min_size=7, max_size=7))
def test_equal_weights_change_nothing(given: Any, weights: list[float]) -> None:
    equal = [weights[0]] * len(given)
    members = [Answer(place, record) for place, record in enumerate(given)]
    weighted, plain = vote(members, len(given), equal), vote(members, len(given))
    assert weighted is not None
    assert plain is not None
    assert weighted.answer == plain.answer
    assert weighted.agreement == pytest.approx(plain.agreement)


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
