"""A probit mixed model of the scores of configs, and its posterior.

A config's ability has parts that it shares with others (one for each level of each factor: a model,
prompt or setting in some module), a part of its own, and optionally a part that follows the
diagnoser's ratings; its mean score is the normal distribution function of its ability, so that
effects still add up where scores come close to 0 or 1. A score is the mean score + an effect of the
example + noise. Scores of two configs on one example are correlated: examples differ in difficulty,
and configs with a module in common, or with the same calls, fail together. Shared parts let what is
learned on one config serve all others, and the posterior means shrink the luck of the best of many.

The posterior is that of the linear model which touches this one at the present estimates (penalized
quasi-likelihood, Breslow & Clayton 1993). The variances are estimated from the scores: those of the
effects by expectation-maximisation, the correlations by non-negative least squares on products of
residuals. A score's variance is proportional to `mean * (1 - mean)`, as in quasi-likelihood for
fractions (Papke & Wooldridge 1996).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

SCALE = np.sqrt(2 * np.pi)
"""Abilities are in units of the score: at 1/2 both are equal, and the slope of the score is 1."""
PRIOR_MEAN, PRIOR_SPREAD = 0.5, 0.5
"""Of the mean ability of all configs: nothing is known of it."""
FACTOR_VARIANCE, OWN_VARIANCE, RATING_VARIANCE = 0.03, 0.01, 0.05
"""Prior variances of effects: factors' levels differ by 17 points, configs by 10 more, and a rating
of 1 rather than 0 is worth 15 +- 22 points, where scores are about 1/2."""
RATING_SLOPE = 0.15
"""The prior gain of a rating of 1 over one of 0: ratings count as informative until scores show
otherwise."""
FACTOR_WEIGHT, OWN_WEIGHT = 3.0, 20.0
"""The prior variances count as this many levels and this many configs."""
CORRELATION, SHARED_CORRELATION = 0.3, 0.1
"""Of scores on one example: of any two configs, and more for each thing that they share."""
CORRELATION_WEIGHT = 60.0
"""The prior correlations count as this many pairs of scores."""
MOST_CORRELATED = 0.9
DISPERSION_WEIGHT = 3.0
"""The prior dispersion, that of 0/1 scores, counts as this many scores."""
JITTER = 1e-8
"""Added to variances that rounding may have made negative; scores differ by far more."""
CLOSEST = 0.005
"""The model is made linear at mean scores no closer to 0 or 1 than this."""
ROUNDS = 2
"""Of estimation in each fit; fits of one search begin where the last one ended."""


@dataclass(frozen=True)
class Design:
    """What is known of C configs with F factors before any score."""

    factors: NDArray[np.int64]
    """C x F: the level of each factor, such as which model a module has."""
    shared_calls: Floats
    """C x C: the share in [0, 1] of their calls on an example that two configs have in common."""
    ratings: Floats | None = None
    """C x M: module scores in [0, 1] of what each config has in each of M modules; NaN where a
    model was not rated."""
    mixtures: tuple[Floats, ...] = ()
    """Factors of which a config has several levels at once, as a vote has several models: C x L
    each, how much of each level it has, in rows of unit length."""

    @cached_property
    def members(self) -> list[Floats]:
        """For each factor, mixtures last, C x L: how much of each of its levels a config has."""
        plain = (np.equal.outer(each, np.unique(each)) for each in self.factors.T)
        return [*(each.astype(np.float64) for each in plain), *self.mixtures]

    @cached_property
    def alike(self) -> list[Floats]:
        """For each factor, C x C: 1 where two configs have the same level, less for mixtures."""
        return [each @ each.T for each in self.members]

    @cached_property
    def rated(self) -> Floats | None:
        """C x M: ratings around the mean of their module, and 0 where there is none."""
        if self.ratings is None:
            return None
        known = ~np.isnan(self.ratings)
        counts = np.maximum(known.sum(axis=0), 1)
        means = np.where(known, self.ratings, 0.0).sum(axis=0) / counts
        return np.where(known, self.ratings - means, 0.0)

    @cached_property
    def expected(self) -> Floats:
        """C: abilities as expected before any score."""
        plain = np.full(len(self.shared_calls), PRIOR_MEAN)
        return plain if self.rated is None else plain + RATING_SLOPE * self.rated.sum(axis=1)

    @cached_property
    def overlaps(self) -> list[Floats]:
        """C x C each: what correlates the scores of two configs on one example."""
        return [np.ones_like(self.shared_calls), *self.alike, self.shared_calls]

    @cached_property
    def pairs(self) -> tuple[Floats, NDArray[np.int64]]:
        """The distinct overlaps of two different configs (rows), and which one each pair has."""
        stacked = np.stack(self.overlaps, axis=-1).round(6)
        kinds, which = np.unique(
            stacked.reshape(-1, stacked.shape[-1]), axis=0, return_inverse=True
        )
        return kinds, which.reshape(self.shared_calls.shape)


@dataclass(frozen=True)
class Variances:
    """The variances and correlations that the model estimates besides the effects."""

    factors: Floats
    """Of the effects of each factor's levels."""
    own: float = OWN_VARIANCE
    ratings: float = RATING_VARIANCE
    """Of the slopes with which effects follow ratings."""
    correlations: Floats = field(default_factory=lambda: np.zeros(0))
    """Of scores on one example, by overlap; they add up to less than 1."""
    dispersion: float = 1.0
    """A score's variance relative to `mean * (1 - mean)`, which is that of 0/1 scores."""

    @classmethod
    def prior(cls, design: Design) -> Variances:
        """Before any score."""
        shared = len(design.overlaps) - 1
        return cls(
            factors=np.full(len(design.members), FACTOR_VARIANCE),
            correlations=np.array([CORRELATION, *[SHARED_CORRELATION / max(1, shared)] * shared]),
        )


@dataclass(frozen=True)
class Posterior:
    """Beliefs about the configs' abilities, and so about their mean scores."""

    ability: Floats
    """C: expected abilities."""
    covariance: Floats
    """C x C, of the abilities."""
    noise: Floats
    """C x C: the covariance of scores on one example, given the abilities and in their units."""
    variances: Variances
    evidence: tuple[Floats, Floats, NDArray[np.int64]] | None = field(default=None, repr=False)
    """The precision C x C that the scores have, their weighted sum C, and the factors C x F; None
    without scores."""

    @classmethod
    def fit(cls, scores: Floats, design: Design, variances: Variances | None = None) -> Posterior:
        """The posterior given scores.

        Args:
            scores: C x N, in [0, 1], NaN where a config has no score on an example.
            design: what is known of the configs.
            variances: where to begin estimating; those of the last fit save rounds.
        """
        now = variances or Variances.prior(design)
        even = np.full(len(scores), 0.5)
        if np.isnan(scores).all():
            prior = _prior_covariance(design, now)
            return cls(design.expected, prior, _noise(design, now, even), now)
        mean = _solve(scores, even, design, now).ability  # as if the model were linear
        for _ in range(ROUNDS):
            mean = np.clip(mean, CLOSEST, 1 - CLOSEST)
            now = _correlations(scores, mean, design, now)
            posterior = _solve(scores, mean, design, now)
            now = _effects(posterior, design, now)
            mean = mean_scores(posterior.ability)
        return replace(posterior, variances=now)

    @cached_property
    def mean(self) -> Floats:
        """C: expected mean scores, over examples like those seen."""
        return mean_scores(self.ability, self.covariance.diagonal())

    @cached_property
    def spread(self) -> Floats:
        """C: about the standard deviations of the mean scores."""
        spread: Floats = _slopes(self.mean) * np.sqrt(np.maximum(self.covariance.diagonal(), 0))
        return spread

    @cached_property
    def all_equal(self) -> float:
        """The p-value of all configs having the same mean score: if it is small, they differ.

        Tested are the means that the scores alone suggest, of the configs and, for each factor, of
        its levels, which are fewer: the least p-value of chi-squared tests of heterogeneity (as
        Cochran's Q is one), times their number (Bonferroni).
        """
        if self.evidence is None:
            return 1.0
        precision, pull, factors = self.evidence
        tests = [
            _heterogeneity(precision, pull, kinds) for kinds in (np.arange(len(pull)), *factors.T)
        ]
        return min(1.0, min(tests) * len(tests))

    def draws(self, count: int, rng: np.random.Generator) -> Floats:
        """C x count possible abilities."""
        return _drawn(self.ability, self.covariance, count, rng)

    def level_draws(
        self,
        design: Design,
        levels: Sequence[int],
        count: int,
        rng: np.random.Generator,
        ratings: Sequence[Floats] | None = None,
    ) -> list[Floats]:
        """Possible effects of each factor's levels, for candidates that were not seen yet.

        Args:
            design: of the configs that this posterior is of.
            levels: how many levels each factor has.
            count: how many draws.
            rng: of the draws.
            ratings: for each factor, of each of its levels; those that the design's are made of.

        Returns:
            For each factor, levels x count.
        """
        member = [
            np.eye(size)[column] for size, column in zip(levels, design.factors.T, strict=True)
        ]
        variance = np.repeat(self.variances.factors, levels)
        if design.rated is not None:
            member.append(design.rated)
            slopes = np.full(design.rated.shape[1], self.variances.ratings)
            variance = np.concatenate([variance, slopes])
        inverse = np.linalg.inv(_prior_covariance(design, self.variances))
        left = inverse - inverse @ self.covariance @ inverse
        spread = np.hstack(member) * variance
        mean = spread.T @ (inverse @ (self.ability - design.expected))
        drawn = _drawn(mean, np.diag(variance) - spread.T @ left @ spread, count, rng)
        effects = np.split(drawn[: sum(levels)], np.cumsum(levels)[:-1])
        if ratings is not None:
            slopes = RATING_SLOPE + drawn[sum(levels) :]
            effects = [
                own + np.nan_to_num(rating - _mean_known(rating))[:, None] * slope
                for own, rating, slope in zip(effects, ratings, slopes, strict=True)
            ]
        return effects

    def probability_better(self, one: int, other: int) -> float:
        """How likely the first config's mean score is above the second's."""
        from scipy.stats import norm  # 0.3 s

        variance = (
            self.covariance[one, one]
            + self.covariance[other, other]
            - 2 * self.covariance[one, other]
        )
        gap = self.ability[one] - self.ability[other]
        return float(norm.cdf(gap / np.sqrt(max(variance, 1e-12))))


def _mean_known(ratings: Floats) -> float:
    return float(np.nansum(ratings) / max(1, np.isfinite(ratings).sum()))


def _drawn(mean: Floats, covariance: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Draws (values x count) by Cholesky factors, which are robust to rounding errors."""
    lower = np.linalg.cholesky(covariance + JITTER * np.eye(len(mean)))
    drawn: Floats = mean[:, None] + lower @ rng.standard_normal((len(mean), count))
    return drawn


def _prior_covariance(design: Design, variances: Variances) -> Floats:
    count = len(design.shared_calls)
    total = np.full((count, count), PRIOR_SPREAD**2)
    for variance, alike in zip(variances.factors, design.alike, strict=True):
        total += variance * alike
    if design.rated is not None:
        total += variances.ratings * design.rated @ design.rated.T
    total[np.diag_indices(count)] += variances.own
    return total


def _spreads(variances: Variances, mean: Floats) -> Floats:
    """The standard deviation of each config's scores."""
    spread: Floats = np.sqrt(variances.dispersion * mean * (1 - mean))
    return spread


def _noise(design: Design, variances: Variances, mean: Floats) -> Floats:
    together = sum(
        weight * overlap
        for weight, overlap in zip(variances.correlations, design.overlaps, strict=True)
    )
    matrix = np.array(together, dtype=np.float64)
    np.fill_diagonal(matrix, 1.0)
    spread = _spreads(variances, mean)
    return matrix * spread[:, None] * spread[None]


def _correlations(scores: Floats, mean: Floats, design: Design, variances: Variances) -> Variances:
    """How far scores spread around the means, and how they correlate on one example."""
    from scipy.optimize import nnls

    seen = ~np.isnan(scores)
    residuals = np.where(seen, scores - mean[:, None], 0.0)
    expected = float((mean * (1 - mean)) @ seen.sum(axis=1))
    dispersion = (float((residuals**2).sum()) + DISPERSION_WEIGHT) / (expected + DISPERSION_WEIGHT)
    now = replace(variances, dispersion=min(max(dispersion, 0.02), 1.3))
    scaled = residuals / _spreads(now, mean)[:, None]
    products, counts = scaled @ scaled.T, seen.astype(np.float64) @ seen.T
    kinds, which = design.pairs
    different = ~np.eye(len(scores), dtype=bool)
    summed = np.bincount(which[different], products[different], len(kinds))
    number = np.bincount(which[different], counts[different], len(kinds))
    weight = np.sqrt(number)
    observed = summed / np.maximum(number, 1e-9)
    prior = Variances.prior(design).correlations
    pull = np.sqrt(CORRELATION_WEIGHT)
    found, _ = nnls(
        np.vstack([kinds * weight[:, None], pull * np.eye(len(prior))]),
        np.concatenate([observed * weight, pull * prior]),
    )
    total = float(found.sum())
    return replace(now, correlations=found * min(1.0, MOST_CORRELATED / max(total, 1e-9)))


def _solve(scores: Floats, mean: Floats, design: Design, variances: Variances) -> Posterior:
    """Condition the prior on the scores, with the example effects integrated out.

    The model is made linear where the mean scores are these (C).
    """
    noise, slope = _noise(design, variances, mean), _slopes(mean)
    count = len(scores)
    precision, pull = np.zeros((count, count)), np.zeros(count)
    for seen, examples in _patterns(~np.isnan(scores)):
        inverse = np.linalg.inv(noise[np.ix_(seen, seen)])
        precision[np.ix_(seen, seen)] += len(examples) * inverse
        pull[seen] += inverse @ (scores[np.ix_(seen, examples)] - mean[seen, None]).sum(axis=1)
    prior, per_ability = _prior_covariance(design, variances), precision * np.outer(slope, slope)
    covariance = np.linalg.solve(np.eye(count) + prior @ per_ability, prior)
    covariance = (covariance + covariance.T) / 2
    gap = 0.5 + ndtri(mean) / SCALE - design.expected
    return Posterior(
        design.expected + covariance @ (slope * pull + per_ability @ gap),
        covariance,
        noise / np.outer(slope, slope),
        variances,
        (precision, pull + precision @ mean, design.factors),
    )


def mean_scores(ability: Floats, variance: Floats | float = 0.0) -> Floats:
    """Expected mean scores, of abilities with these expectations and variances."""
    scores: Floats = ndtr(SCALE * (ability - 0.5) / np.sqrt(1 + SCALE**2 * np.maximum(variance, 0)))
    return scores


def _slopes(mean: Floats) -> Floats:
    """How fast mean scores grow with abilities, where they are these."""
    slopes: Floats = np.exp(-(ndtri(mean) ** 2) / 2)
    return slopes


def _heterogeneity(precision: Floats, pull: Floats, kinds: NDArray[np.int64]) -> float:
    """The p-value of a chi-squared test that configs of different kinds have the same mean."""
    from scipy.stats import chi2

    member = np.equal.outer(kinds, np.unique(kinds[np.diag(precision) > 0])).astype(np.float64)
    if member.shape[1] < 2:
        return 1.0
    of_kinds = member.T @ pull
    apart = float(of_kinds @ np.linalg.lstsq(member.T @ precision @ member, of_kinds)[0])
    common = float(pull.sum() ** 2 / precision.sum())
    return float(chi2.sf(max(apart - common, 0.0), member.shape[1] - 1))


def _patterns(seen: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The configs that have a score together, and the examples on which just these have one."""
    packed = np.packbits(seen, axis=0).T
    _, which = np.unique(packed, axis=0, return_inverse=True)
    which = which.ravel()
    for pattern in range(int(which.max()) + 1):
        examples = np.flatnonzero(which == pattern)
        configs = np.flatnonzero(seen[:, examples[0]])
        if configs.size:
            yield configs, examples


def _effects(posterior: Posterior, design: Design, variances: Variances) -> Variances:
    """One step of expectation-maximisation for the variances of the effects."""
    inverse = np.linalg.inv(_prior_covariance(design, variances))
    lifted = inverse @ (posterior.ability - design.expected)
    left = np.asarray(inverse - inverse @ posterior.covariance @ inverse, dtype=np.float64)
    factors = []
    for member, variance in zip(design.members, variances.factors, strict=True):
        square = _squares(member, variance, lifted, left)
        prior = FACTOR_WEIGHT * FACTOR_VARIANCE
        factors.append((square.sum() + prior) / (member.shape[1] + FACTOR_WEIGHT))
    own = _squares(np.eye(len(lifted)), variances.own, lifted, left)
    ratings = variances.ratings
    if design.rated is not None:
        slopes = _squares(design.rated, ratings, lifted, left)
        ratings = (slopes.sum() + RATING_VARIANCE) / (len(slopes) + 1)
    return replace(
        variances,
        factors=np.array(factors),
        own=float((own.sum() + OWN_WEIGHT * OWN_VARIANCE) / (len(own) + OWN_WEIGHT)),
        ratings=float(ratings),
    )


def _squares(member: Floats, variance: float, lifted: Floats, left: Floats) -> Floats:
    """Expected squares of effects that enter the configs as the columns of `member` say."""
    mean = variance * (member.T @ lifted)
    spread = variance - variance**2 * np.einsum("cg,cd,dg->g", member, left, member, optimize=True)
    squares: Floats = mean**2 + np.maximum(spread, 0.0)
    return squares
