"""`probability_better`: how often it is right, and what always holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from scipy.stats import beta, binom, norm

from evaluators.statistics import probability_better

DIFFERENCES = st.lists(st.floats(-1, 1), max_size=40)
SCALES = st.floats(0.001, 10)
WIDE = 1e6


class Outcomes(NamedTuple):
    """Every number of wins and losses among n examples, and the result for it."""

    wins: NDArray[np.int64]
    losses: NDArray[np.int64]
    results: NDArray[np.float64]


def of_counts(wins: int, losses: int, ties: int, prior_scale: float) -> float:
    return probability_better([1.0] * wins + [-1.0] * losses + [0.0] * ties, prior_scale)


def outcomes(n: int, prior_scale: float) -> Outcomes:
    wins, losses = np.indices((n + 1, n + 1)).reshape(2, -1)
    possible = wins + losses <= n
    wins, losses = wins[possible], losses[possible]
    pairs = zip(wins.tolist(), losses.tolist(), strict=True)
    results = [of_counts(w, m, n - w - m, prior_scale) for w, m in pairs]
    return Outcomes(wins, losses, np.array(results))


def chances(found: Outcomes, n: int, win: ArrayLike, lose: ArrayLike) -> NDArray[np.float64]:
    """The trinomial probability of each outcome (rates x outcomes)."""
    win, lose, ties = np.asarray(win), np.asarray(lose), n - found.wins - found.losses
    ways = gammaln(n + 1) - sum(gammaln(k + 1) for k in (found.wins, found.losses, ties))
    logs = np.outer(np.log(win), found.wins) + np.outer(np.log(lose), found.losses)
    found_chances: NDArray[np.float64] = np.exp(ways + logs + np.outer(np.log1p(-win - lose), ties))
    return found_chances


@pytest.mark.parametrize("n", [30, 60, 100])
@pytest.mark.parametrize("scale", [0.05, 0.1])
def test_of_those_given_80_to_85_percent_about_as_many_are_better(n: int, scale: float) -> None:
    found = outcomes(n, scale)
    given_it = (found.results >= 0.8) & (found.results < 0.85)
    true = norm.ppf((np.arange(200) + 0.5) / 200, scale=scale)
    for least in (0.05, 0.1, 0.2):
        win, lose = least + np.maximum(true, 0), least + np.maximum(-true, 0)
        by_true = chances(found, n, win, lose)[:, given_it].sum(axis=1)
        assert 0.795 <= by_true[true > 0].sum() / by_true.sum() <= 0.885
    rare = chances(found, n, 0.01 + np.maximum(true, 0), 0.01 + np.maximum(-true, 0))
    by_true = rare[:, given_it].sum(axis=1)
    assert by_true[true > 0].sum() / by_true.sum() >= 0.9


@pytest.mark.parametrize(("scale", "most"), [(0.05, 0.15), (0.1, 0.2), (0.2, 0.2), (WIDE, 0.25)])
@pytest.mark.parametrize("n", [30, 33, 48, 64, 87, 100])
def test_equally_good_configs_seldom_get_80_percent(n: int, scale: float, most: float) -> None:
    found = outcomes(n, scale)
    rates = np.concatenate([np.geomspace(0.001, 0.05, 30), np.linspace(0.06, 0.499, 30)])
    assert chances(found, n, rates, rates)[:, found.results >= 0.8].sum(axis=1).max() <= most


def test_the_usual_standard_error_says_it_more_often_where_changes_are_rare() -> None:
    """One win and no loss among 100 is 1.0 standard errors by the plug-in variance."""
    n, rate, scale = 100, 0.01, 0.05
    found = outcomes(n, scale)
    mean = (found.wins - found.losses) / n
    variance = ((found.wins + found.losses) / n - mean**2) / n
    naive = norm.cdf(mean / np.sqrt(variance + variance**2 / scale**2 + 1e-12))
    chance = chances(found, n, [rate], [rate])[0]
    assert chance[naive >= 0.8].sum() > 0.25
    assert chance[found.results >= 0.8].sum() < 0.12


@pytest.mark.parametrize("n", [10, 30, 100])
@pytest.mark.parametrize("scale", [0.03, 0.1])
@pytest.mark.parametrize("kind", ["noise", "grades", "shares"])
def test_graded_scores(kind: str, scale: float, n: int) -> None:
    """Noise on every example, steps of a quarter on 30% of them, any change on 30%."""
    generator = np.random.default_rng(0)
    true = generator.normal(0, scale, 2000)
    size = {
        "noise": np.abs(generator.normal(0, 0.15, (2000, n))),
        "grades": generator.choice([0.0, 0.25, 0.5], (2000, n), p=[0.7, 0.2, 0.1]),
        "shares": generator.beta(1, 1.5, (2000, n)) * (generator.random((2000, n)) < 0.3),
    }[kind]
    mean_size = {"noise": 0.15 * np.sqrt(2 / np.pi), "grades": 0.1, "shares": 0.12}[kind]
    up = np.clip((1 + true / mean_size) / 2, 0, 1)[:, None]
    signs, fair = (np.where(generator.random((2000, n)) < p, 1, -1) for p in (up, 0.5))
    results = np.array([probability_better(row, scale) for row in signs * size])
    if (results >= 0.8).sum() > 20:
        assert np.mean(true[results >= 0.8] > 0) >= results[results >= 0.8].mean() - 0.03
    assert np.mean([probability_better(row, scale) >= 0.8 for row in fair * size]) <= 0.21


def test_with_a_wide_prior_it_is_the_posterior_of_the_share_of_wins() -> None:
    for wins in range(40):
        for losses in range(wins + 1):
            exact = beta.sf(0.5, wins + 1, losses + 1)
            assert of_counts(wins, losses, 100, WIDE) == pytest.approx(exact, abs=0.011)


def test_the_prior_shrinks_it_as_a_normal_posterior_does() -> None:
    """By numerical integration of prior times likelihood."""
    differences = [1.0, 1.0, 1.0, -1.0] + [0.0] * 36
    error, scale = np.sqrt(4 + 1) / 40, 0.05
    grid = np.linspace(-1, 1, 200_001)
    posterior = norm.pdf(grid, 0, scale) * norm.pdf(np.mean(differences), grid, error)
    expected = posterior[grid > 0].sum() / posterior.sum()
    assert probability_better(differences, scale) == pytest.approx(expected, abs=1e-4)


@given(DIFFERENCES, SCALES)
def test_swapping_the_sides_gives_the_complement(differences: list[float], scale: float) -> None:
    there = probability_better(differences, scale)
    back = probability_better([-d for d in differences], scale)
    assert 0 <= there <= 1
    assert back == pytest.approx(1 - there, abs=1e-9)


@given(DIFFERENCES, SCALES, SCALES)
def test_a_sceptical_prior_draws_it_towards_even_odds(
    differences: list[float], one: float, other: float
) -> None:
    narrow, wide = (probability_better(differences, s) for s in sorted((one, other)))
    assert abs(narrow - 0.5) <= abs(wide - 0.5) + 1e-12


@given(DIFFERENCES, SCALES, st.integers(1, 50))
def test_more_ties_never_turn_the_verdict(
    differences: list[float], scale: float, ties: int
) -> None:
    before = probability_better(differences, scale)
    after = probability_better([*differences, *[0.0] * ties], scale)
    assert (before - 0.5) * (after - 0.5) >= 0


@pytest.mark.parametrize("n", [0, 1, 100])
def test_without_any_change_the_odds_are_even(n: int) -> None:
    assert probability_better([0.0] * n, 0.05) == 0.5


def test_more_evidence_counts_for_more() -> None:
    results = [of_counts(3 * k, k, 16 * k, 0.1) for k in (1, 2, 5, 20)]
    assert results == sorted(results)
    assert results[-1] > 0.99
    assert binom.sf(59, 80, 0.5) < 0.01  # the sign test agrees


@pytest.mark.parametrize(
    ("differences", "scale", "message"),
    [
        ([0.5, 1.5], 0.1, r"numbers in \[-1, 1\], but got"),
        ([float("nan")], 0.1, r"numbers in \[-1, 1\], but got"),
        ([[0.5]], 0.1, r"a sequence of numbers"),
        ([0.5], 0.0, "`0 < prior_scale < inf` must hold, but got 0.0"),
        ([0.5], float("inf"), "`0 < prior_scale < inf` must hold, but got inf"),
        ([0.5], float("nan"), "`0 < prior_scale < inf` must hold, but got nan"),
    ],
)
def test_refuses(differences: Any, scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        probability_better(differences, scale)
