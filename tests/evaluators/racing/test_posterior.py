"""The probit mixed model: against its own simulations, and against direct linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from evaluators.racing.posterior import (
    PRIOR_MEAN,
    SCALE,
    Design,
    Floats,
    Posterior,
    Variances,
    _noise,
    _prior_covariance,
    _solve,
    mean_scores,
)

PAIRS = np.array(list(np.ndindex(4, 3)), dtype=np.int64)


def chain(factors: np.ndarray = PAIRS, ratings: Floats | None = None) -> Design:
    """A chain of two modules: configs with the same first model share a call of their two."""
    same = factors[:, None] == factors[None]
    shared = (same[..., 0] * 0.5) + same.all(axis=-1) * 0.5
    return Design(factors, shared, ratings)


def drawn(seed: int, examples: int, spread: float = 0.15) -> tuple[Floats, Floats]:
    """True means of the pairs, and right-or-wrong scores with examples of all difficulties."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, spread, 4), rng.normal(0, spread, 3)
    logits = 4 * (first[PAIRS[:, 0]] + second[PAIRS[:, 1]] + rng.normal(0, 0.05, len(PAIRS)))
    hard = rng.normal(0, 1, examples)
    noise = rng.logistic(0, 1, (len(PAIRS), examples))
    many = rng.normal(0, 1, 20_000)
    truth = (1 / (1 + np.exp(-(logits[:, None] + many)))).mean(axis=1)
    return truth, (logits[:, None] + hard + noise > 0).astype(float)


def test_conditioning_is_that_of_the_joint_normal_distribution() -> None:
    """Patterns of missing scores and integrated example effects change nothing."""
    design, rng = chain(), np.random.default_rng(0)
    variances = Variances.prior(design)
    scores = rng.integers(0, 2, (len(PAIRS), 5)).astype(float)
    scores[rng.random(scores.shape) < 0.4] = np.nan
    mean, ability = np.full(len(PAIRS), 0.6), 0.5 + norm.ppf(0.6) / SCALE
    slope = (mean_scores(ability + 1e-5) - mean_scores(ability - 1e-5)) / 2e-5
    found = _solve(scores, mean, design, variances)
    prior, noise = _prior_covariance(design, variances), _noise(design, variances, mean) / slope**2
    seen = [(c, e) for e in range(5) for c in range(len(PAIRS)) if not np.isnan(scores[c, e])]
    of_scores = np.array([[prior[a, b] + (e == f) * noise[a, b] for b, f in seen] for a, e in seen])
    cross = np.array([[prior[c, a] for a, _ in seen] for c in range(len(PAIRS))])
    gain = cross @ np.linalg.inv(of_scores)
    residual = ability + (np.array([scores[pair] for pair in seen]) - 0.6) / slope - PRIOR_MEAN
    assert found.ability == pytest.approx(PRIOR_MEAN + gain @ residual)
    assert found.covariance == pytest.approx(prior - gain @ cross.T)


def test_without_scores_the_prior_is_believed() -> None:
    found = Posterior.fit(np.full((len(PAIRS), 9), np.nan), chain())
    assert found.mean == pytest.approx(np.full(len(PAIRS), PRIOR_MEAN))
    assert found.covariance[0, 0] > 0.2


def test_what_is_learned_in_one_config_serves_those_that_share_a_part_with_it() -> None:
    scores = np.full((len(PAIRS), 40), np.nan)
    scores[(PAIRS[:, 0] == 0) & (PAIRS[:, 1] < 2)] = 1.0
    scores[(PAIRS[:, 0] == 1) & (PAIRS[:, 1] < 2)] = 0.0
    found = Posterior.fit(scores, chain())
    unseen = {tuple(pair): found.mean[place] for place, pair in enumerate(PAIRS)}
    assert unseen[0, 2] > unseen[1, 2] + 0.2


def test_the_luckiest_of_many_is_not_taken_at_its_word() -> None:
    """With 40 equal configs the best mean is luck: the posterior takes most of it away."""
    rng = np.random.default_rng(1)
    design = Design(np.arange(40)[:, None] * 0, np.eye(40))
    scores = (rng.random((40, 30)) < 0.7).astype(float)
    found = Posterior.fit(scores, design)
    best = int(scores.mean(axis=1).argmax())
    assert scores.mean(axis=1)[best] > 0.8
    assert found.mean[best] < 0.77


def test_differences_to_the_leader_are_as_far_off_as_it_says() -> None:
    """Standardised errors have a variance of about 1 (0.5 to 2) over 40 simulated tables."""
    squares = []
    for seed in range(40):
        truth, scores = drawn(seed, 60)
        scores[np.random.default_rng(seed).random(scores.shape) < 0.5] = np.nan
        found = Posterior.fit(scores, chain())
        best = int(found.mean.argmax())
        for other in range(len(truth)):
            if other != best:
                contrast = np.zeros(len(truth))
                contrast[[best, other]] = 1, -1
                error = contrast @ (found.ability - 0.5 - norm.ppf(truth) / SCALE)
                squares.append(error**2 / (contrast @ found.covariance @ contrast))
    assert 0.5 < float(np.mean(squares)) < 2.0


@pytest.mark.parametrize("sign", [1, -1])
def test_ratings_count_as_far_as_they_agree_with_scores(sign: int) -> None:
    """Good ratings, and ratings turned upside down, both tell of what was never run."""
    truth, scores = drawn(3, 80, spread=0.4)
    rated = np.stack([sign * truth, sign * truth], axis=1) * 0.5 + 0.5
    seen = PAIRS[:, 1] < 2
    scores[~seen] = np.nan
    alone = Design(np.zeros((len(PAIRS), 1), dtype=np.int64), np.eye(len(PAIRS)), rated)
    found = Posterior.fit(scores, alone)
    assert np.corrcoef(found.mean[~seen], truth[~seen])[0, 1] > 0.9


def test_ratings_that_say_nothing_change_little() -> None:
    _, scores = drawn(5, 60)
    noise = np.random.default_rng(0).random((len(PAIRS), 2))
    plain = Posterior.fit(scores, chain()).mean
    rated = Posterior.fit(scores, chain(ratings=noise)).mean
    assert np.abs(plain - rated).max() < 0.03


def test_probability_better_is_that_of_its_draws() -> None:
    _, scores = drawn(7, 50)
    found = Posterior.fit(scores, chain())
    draws = found.draws(40_000, np.random.default_rng(0))
    assert found.probability_better(0, 5) == pytest.approx((draws[0] > draws[5]).mean(), abs=0.01)
    assert found.probability_better(0, 5) + found.probability_better(5, 0) == pytest.approx(1.0)


def test_draws_have_the_posterior_as_their_distribution() -> None:
    _, scores = drawn(7, 50)
    found = Posterior.fit(scores, chain())
    draws = found.draws(20_000, np.random.default_rng(0))
    assert draws.mean(axis=1) == pytest.approx(found.ability, abs=0.01)
    expected = multivariate_normal(found.ability, found.covariance, allow_singular=True)
    assert np.isfinite(expected.logpdf(draws[:, 0]))


def test_levels_that_did_well_are_drawn_higher() -> None:
    scores = np.full((len(PAIRS), 30), np.nan)
    scores[PAIRS[:, 0] == 0] = 1.0
    scores[PAIRS[:, 0] == 1] = 0.0
    found = Posterior.fit(scores, chain())
    first, second = found.level_draws(chain(), (5, 3), 500, np.random.default_rng(0))
    assert first.shape == (5, 500)  # a level that no config has is drawn too
    assert first[0].mean() > first[4].mean() > first[1].mean()
    assert second.shape == (3, 500)


@given(
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.floats(0.0, 1.0),
)
def test_any_scores_give_a_proper_posterior(
    seed: int, examples: int, value: float, missing: float
) -> None:
    """Constant scores, one example, hardly any score: means stay finite, variances positive."""
    rng = np.random.default_rng(seed)
    scores = np.where(rng.random((len(PAIRS), examples)) < 0.5, value, rng.random())
    scores[rng.random(scores.shape) < missing] = np.nan
    found = Posterior.fit(scores, chain())
    again = Posterior.fit(scores, chain(), found.variances)
    for each in (found, again):
        assert ((each.mean > 0) & (each.mean < 1)).all()
        assert (np.linalg.eigvalsh(each.covariance) > -1e-9).all()
        assert (np.linalg.eigvalsh(each.noise) > -1e-9).all()


def test_good_choices_together_are_better_but_not_above_one() -> None:
    """With all others each of two choices is right 9 times in 10, and 6 times without them."""
    rng = np.random.default_rng(0)
    seen = (PAIRS == 0).sum(axis=1) < 2
    chances = np.where((PAIRS == 0).any(axis=1), 0.9, 0.6)
    scores = (rng.random((len(PAIRS), 200)) < chances[:, None]).astype(float)
    scores[~seen] = np.nan
    found = Posterior.fit(scores, chain())
    assert tuple(PAIRS[found.mean.argmax()]) == (0, 0)
    assert 0.92 < found.mean.max() < 0.99


def test_the_expected_mean_score_is_that_of_draws() -> None:
    _, scores = drawn(7, 20)
    found = Posterior.fit(scores, chain())
    means = mean_scores(found.draws(40_000, np.random.default_rng(0)))
    assert means.mean(axis=1) == pytest.approx(found.mean, abs=0.005)
    assert means.std(axis=1) == pytest.approx(found.spread, abs=0.02)
