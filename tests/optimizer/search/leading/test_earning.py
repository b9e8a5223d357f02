"""One rule says who leads, on score tables and on live searches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.racing.field import Field
from evaluators.racing.posterior import Posterior
from optimizer.search.leading.earning import (
    SURE,
    Protected,
    earns_place,
    leader,
    paired_probability,
)
from optimizer.search.strategies import Arena
from optimizer.search.strategies.posterior_search import PosteriorSearch


def raced(means: list[float], examples: int, seed: int = 0) -> tuple[Posterior, Field]:
    """Candidates that ran on all examples, right with these probabilities."""
    rng = np.random.default_rng(seed)
    field = Field.of(np.arange(len(means))[:, None], [[c] for c in range(len(means))], examples)
    field.scores[:] = rng.random((len(means), examples)) < np.array(means)[:, None]
    field.ran[:] = True
    return Posterior.fit(field.scores, field.design), field


@given(
    means=st.lists(st.floats(0.1, 0.9), min_size=2, max_size=5),
    examples=st.integers(4, 60),
    seed=st.integers(0, 50),
)
def test_who_leads_is_better_than_what_was_kept_with_the_stated_probability(
    means: list[float], examples: int, seed: int
) -> None:
    posterior, field = raced(means, examples, seed)
    ranked = [int(place) for place in np.argsort(-posterior.mean)]
    kept = Protected(0, np.ones(len(means), dtype=bool))
    found = leader(posterior, field, ranked, [kept])
    assert found is not None
    assert found == 0 or posterior.probability_better(found, 0) >= SURE
    ahead = ranked[: ranked.index(found)]
    assert not any(earns_place(posterior, field.scores, one, 0, len(means) - 1) for one in ahead)
    assert leader(posterior, field, ranked) == ranked[0], "nothing is protected"


@pytest.mark.parametrize(
    ("won", "lost", "shown"), [(0, 0, False), (1, 0, False), (2, 0, True), (3, 2, False)]
)
def test_a_lead_must_show_in_the_pairs_of_its_own_scores(won: int, lost: int, shown: bool) -> None:
    differences = np.array([1.0] * won + [-1.0] * lost + [0.0] * (42 - won - lost) + [np.nan])
    assert (paired_probability(differences) >= SURE) == shown
    assert paired_probability(-differences) == pytest.approx(1 - paired_probability(differences))


def test_what_others_with_the_same_settings_did_is_not_enough() -> None:
    """All candidates with the second setting do well, but this one as well as the given one."""
    design = Field.of(np.array([[0], [1], [1], [1], [0]]), [[c] for c in range(5)], 40)
    design.scores[:] = np.arange(40) < np.array([30, 30, 40, 40, 10])[:, None]
    design.ran[:] = True
    posterior = Posterior.fit(design.scores, design.design)
    assert posterior.probability_better(1, 0) >= SURE
    assert not earns_place(posterior, design.scores, 1, 0, 4)
    assert earns_place(posterior, design.scores, 2, 0, 4)


def test_it_is_kept_only_against_those_that_it_is_protected_from() -> None:
    posterior, field = raced([0.5, 0.52], 8)
    for against, expected in (([True, True], 0), ([True, False], 1)):
        assert leader(posterior, field, [1, 0], [Protected(0, np.array(against))]) == expected
    assert leader(posterior, field, []) is None


@pytest.mark.parametrize("better", [0.3, 0.95])
def test_a_table_search_picks_by_the_same_rule(better: float) -> None:
    _, field = raced([0.5, better], 40)
    arena = Arena([2], lambda levels: [levels], 40, start=(0,))
    arena.field.scores[:], arena.field.ran[:] = field.scores, field.ran
    kept = Protected(0, np.ones(2, dtype=bool))
    ranked = [int(place) for place in np.argsort(-arena.posterior.mean)]
    assert PosteriorSearch().pick(arena) == leader(arena.posterior, field, ranked, [kept])
    assert PosteriorSearch().pick(arena) == (better > 0.9)
