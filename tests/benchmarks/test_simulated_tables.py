from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulated_tables import TableWorld, search_and_hold_out


@pytest.mark.parametrize("trap", [None, 0.3])
def test_the_truth_is_what_many_examples_approach(trap: float | None) -> None:
    world = TableWorld((3, 4), examples=20_000, trap=trap)
    means = world.table(5).scores.mean(axis=-1)
    assert np.abs(means - world.truth(5)).max() < 0.02


def test_the_truth_does_not_depend_on_the_number_of_examples() -> None:
    world = TableWorld((3, 4), examples=10)
    assert np.array_equal(world.truth(1), replace(world, examples=90).truth(1))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([None, 40]))
def test_the_user_never_gets_what_lost_on_the_holdout(seed: int, calls: int | None) -> None:
    world = TableWorld((4, 3), examples=30, effects=0.1, interactions=0.1)
    table = world.table(seed)
    found = search_and_hold_out(table, calls, seed)
    held_out = table.scores[..., -9:].mean(axis=-1)
    assert held_out[found.final] >= held_out[found.given]
    assert found.withdrawn == (held_out[found.picked] < held_out[found.given])
    assert found.gain.mean == pytest.approx(held_out[found.final] - held_out[found.given])
