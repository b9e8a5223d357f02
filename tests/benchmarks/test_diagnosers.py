import math

import pytest

from benchmarks.diagnosers import KINDS, _rater
from benchmarks.simulated_tables import TableWorld

TABLE = TableWorld((4, 3), examples=5).table(0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_of_the_module_is_rated(kind: str) -> None:
    asked: list[int] = []
    rate = _rater(TABLE, kind, 0, asked)
    ratings = rate("module 2", TABLE.choices((0, 0)), 3)
    assert len(ratings) == 3
    assert asked == [3]
    if kind == "unreadable":
        assert all(map(math.isnan, ratings))
    else:
        assert all(0 <= rating <= 1 for rating in ratings)


def test_the_adversary_rates_the_opposite_of_the_good_one() -> None:
    good, bad = (_rater(TABLE, kind, 0, []) for kind in ("good", "adversarial"))
    rated = good("module 1", TABLE.choices((0, 0)), 1)
    assert bad("module 1", TABLE.choices((0, 0)), 1) == pytest.approx([1 - r for r in rated])
    assert rated == pytest.approx(TABLE.scores[..., 1].mean(axis=1))
