"""Trust in a diagnoser: counted from pairs, drawn to what is expected while they are few."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.diagnosis.agreement import Agreement, agreement, given_others

differences = st.floats(-1, 1, allow_nan=False)
pairs = st.lists(st.tuples(differences, differences), max_size=30)


def test_only_pairs_that_differ_clearly_in_both_tell_anything() -> None:
    told = [(1.0, 1.0), (0.5, -1.0), (-0.8, -0.5), (0.1, 1.0), (1.0, 0.0)]
    assert agreement(told) == Agreement(concordant=2, discordant=1)


@given(pairs)
def test_a_diagnoser_turned_upside_down_agrees_where_it_did_not(
    told: list[tuple[float, float]],
) -> None:
    right, wrong = agreement(told), agreement([(-rating, score) for rating, score in told])
    assert (right.concordant, right.discordant) == (wrong.discordant, wrong.concordant)
    assert right.rate == pytest.approx(1 - wrong.rate)
    assert right.trust == 0 or wrong.trust == 0


@given(st.integers(0, 50), st.integers(0, 50), st.integers(2, 20))
def test_its_word_alone_never_leaves_fewer_than_two(
    right: int, wrong: int, candidates: int
) -> None:
    found = Agreement(right, wrong)
    assert 0 <= found.may_drop(candidates) <= candidates - 2
    if right <= wrong:
        assert found.may_drop(candidates) == 0


def test_more_pairs_of_the_same_kind_earn_more_trust() -> None:
    trusts = [Agreement(n, 0).trust for n in (0, 1, 4, 16, 64)]
    assert trusts[0] == 0
    assert trusts == sorted(trusts)
    assert 0.9 < trusts[-1] < 1


def test_how_it_did_on_other_modules_is_what_is_expected_at_first() -> None:
    good, bad = Agreement(60, 0), Agreement(0, 60)
    assert given_others(Agreement(), [good]).rate == pytest.approx(good.rate)
    assert given_others(Agreement(), [good, bad]).trust == 0
    assert given_others(Agreement(0, 100), [good]).trust == 0
    assert given_others(Agreement(3, 1), []) == Agreement(3, 1)
