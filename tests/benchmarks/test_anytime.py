import numpy as np

from benchmarks.anytime import _reached
from benchmarks.search_tables import SHARES


def test_a_rise_beyond_noise_misses_the_goal() -> None:
    rng = np.random.default_rng(0)
    falling = np.linspace(0.3, 0.0, len(SHARES)) + rng.normal(0, 0.01, (50, len(SHARES)))
    rising = falling.copy()
    rising[:, 6:] += 0.06
    by_name = {goal.what.split(",")[1]: goal for goal in _reached({"a": falling, "b": rising})}
    good = by_name[" a: largest rise of regret over 50 seeds"]
    bad = by_name[" b: largest rise of regret over 50 seeds"]
    assert good.met
    assert not bad.met
    assert "at 70%" in bad.measured


def test_searches_that_end_alike_have_no_rise() -> None:
    (goal,) = _reached({"same": np.zeros((3, len(SHARES)))})
    assert goal.met
