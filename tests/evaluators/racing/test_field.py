"""The field: calls are counted once per example, however many candidates share them."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluators.racing.field import Field

CALLS = [[0, 2], [0, 3], [1, 4], [1, 5, 5]]
"""Of four candidates: two first modules (0, 1), each with two second ones."""


def field(examples: int = 6) -> Field:
    return Field.of(np.arange(4)[:, None], CALLS, examples)


def test_shared_calls_are_made_once() -> None:
    made = field()
    assert made.calls([(0, 0)]) == 2
    assert made.calls([(0, 0), (1, 0), (0, 1)]) == 3 + 2
    made.note((0, 0), 1.0)
    assert made.calls([(1, 0), (2, 0)]) == 1 + 2
    assert made.new_calls([0, 1]).tolist() == [1, 3, 3, 3, 3, 3]


def test_a_run_without_a_score_is_a_run() -> None:
    made = field(2)
    made.note((0, 0), None)
    made.note((0, 1), 0.5)
    assert made.complete.tolist() == [True, False, False, False]
    assert np.isnan(made.scores[0, 0])
    assert made.unfinished.tolist() == [1, 2, 3]


def test_those_that_have_seen_less_catch_up_first() -> None:
    made = field(3)
    made.note((0, 0), 1.0)
    made.note((0, 1), 1.0)
    assert made.missing([0, 1], math.inf) == [(1, 0), (1, 1), (0, 2), (1, 2)]


def test_only_entrants_are_run() -> None:
    made = field()
    made.entrants[:2] = False
    assert made.unfinished.tolist() == [2, 3]


def test_the_design_knows_which_calls_are_shared() -> None:
    shared = field().design.shared_calls
    assert shared[0].tolist() == [1.0, 0.5, 0.0, 0.0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5))), st.integers(0, 20), st.data())
def test_what_is_missing_never_takes_more_calls_than_there_are(
    before: list[tuple[int, int]], most: int, data: st.DataObject
) -> None:
    made = field()
    for run in before:
        made.note(run, 0.5)
    chosen = data.draw(st.sets(st.integers(0, 3), min_size=1))
    runs = made.missing(chosen, most)
    assert made.calls(runs) <= most
    assert len(set(runs)) == len(runs)
    assert not any(made.ran[run] for run in runs)
    assert set(made.missing(chosen, math.inf)) == {
        (c, e) for c in chosen for e in range(6) if not made.ran[c, e]
    }
