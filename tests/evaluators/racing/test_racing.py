"""What ends a race for one of its entrants, and how often that may be wrong."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.racing.race import rungs
from evaluators.racing.stopping import ErrorRate, standard_errors_behind


@given(st.integers(1, 200), st.floats(0.001, 1.0))
def test_shares_of_the_error_rate_never_add_up_to_more(comparisons: int, rate: float) -> None:
    for errors in (ErrorRate(rate), ErrorRate(rate, comparisons)):
        shares = [errors.alpha(f"candidate {j}", "leader") for j in range(comparisons)]
        assert sum(shares) <= rate * (1 + 1e-9)


def test_asking_again_of_the_same_pair_costs_nothing() -> None:
    errors = ErrorRate(0.2)
    first = errors.alpha("a", "b")
    errors.alpha("c", "b")
    assert errors.alpha("a", "b") == first


@given(st.integers(1, 5000), st.integers(1, 64))
def test_rungs_double_and_end_with_all_examples(total: int, first: int) -> None:
    sizes = list(rungs(total, first))
    assert sizes[-1] == total
    assert all(2 * a == b or b == total for a, b in itertools.pairwise(sizes))
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("differences", "behind"),
    [([-1, -1, -1], math.inf), ([0, 0, 0], 0.0), ([1, 1], 0.0), ([-1], 0.0), ([], 0.0)],
)
def test_differences_without_spread_are_told_by_their_sign(
    differences: list[float], behind: float
) -> None:
    assert standard_errors_behind(np.array(differences, dtype=float)) == behind
