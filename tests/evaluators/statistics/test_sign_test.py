from __future__ import annotations

import pytest

from evaluators.statistics.intervals import fewest_gained, paired_interval


@pytest.mark.parametrize("lost", [0, 1, 2, 5])
def test_one_more_gained_is_what_the_paired_interval_shows(lost: int) -> None:
    fewest = fewest_gained(lost)
    for gained, shown in ((fewest, True), (fewest - 1, False)):
        ties = 40 - gained - lost
        before = [0.0] * gained + [1.0] * lost + [1.0] * ties
        after = [1.0] * gained + [0.0] * lost + [1.0] * ties
        assert (paired_interval(after, before).low > 0) is shown


def test_six_without_a_loss() -> None:
    assert [fewest_gained(lost) for lost in range(4)] == [6, 8, 10, 12]
