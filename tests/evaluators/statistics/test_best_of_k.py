from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.statistics.best_of_k import BestOfK, Fallback, best_of_k, candidates_verified
from evaluators.statistics.difficulty import Difficulty
from evaluators.statistics.intervals import Floats
from evaluators.statistics.vote_scaling import vote_accuracy
from pipelines.aggregators import aggregator
from search_spaces import AggregatorConfig

ONE = Difficulty(np.array([0.5]), np.ones(1))
RATE = st.floats(0, 1)
K = st.integers(1, 20)
FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)


class TestBestOfK:
    @settings(max_examples=25)
    @given(RATE, RATE, RATE, st.integers(1, 4))
    def test_is_what_counting_every_outcome_gives(
        self, rate: float, accepts: float, rejects: float, k: int
    ) -> None:
        """Every candidate right or wrong, accepted or rejected: 4^k outcomes."""
        chances = {
            (True, True): rate * accepts,
            (True, False): rate * (1 - accepts),
            (False, True): (1 - rate) * (1 - rejects),
            (False, False): (1 - rate) * rejects,
        }
        accuracy = dict.fromkeys(FALLBACKS, 0.0)
        verified = 0.0
        for candidates in itertools.product(chances, repeat=k):
            chance = math.prod(chances[candidate] for candidate in candidates)
            accepted = [right for right, accept in candidates if accept]
            right = sum(right for right, _ in candidates)
            fallback = {
                "first": float(candidates[0][0]),
                "vote": (2 * right > k) + 0.5 * (2 * right == k),
            }
            for name in FALLBACKS:
                accuracy[name] += chance * (accepted[0] if accepted else fallback[name])
            first = next((i for i, (_, accept) in enumerate(candidates) if accept), k - 1)
            verified += chance * (first + 1)
        for name in FALLBACKS:
            predicted = best_of_k(rate, accepts, rejects, k, name)
            assert float(predicted) == pytest.approx(accuracy[name], abs=1e-12)
        assert float(candidates_verified(rate, accepts, rejects, k)) == pytest.approx(verified)

    @given(RATE, RATE, K)
    def test_a_verifier_that_guesses_changes_nothing(
        self, rate: float, says: float, k: int
    ) -> None:
        assert float(best_of_k(rate, says, 1 - says, k)) == pytest.approx(rate)

    @given(RATE, RATE, RATE, K)
    def test_one_candidate_is_the_base_accuracy(
        self, rate: float, accepts: float, rejects: float, k: int
    ) -> None:
        assert float(best_of_k(rate, accepts, rejects, 1)) == pytest.approx(rate)
        assert float(candidates_verified(rate, accepts, rejects, 1)) == 1

    @given(RATE, RATE, RATE, K)
    def test_more_candidates_help_if_acceptance_speaks_for_an_answer(
        self, rate: float, accepts: float, rejects: float, k: int
    ) -> None:
        gain = best_of_k(rate, accepts, rejects, k + 1) - best_of_k(rate, accepts, rejects, k)
        assert float(gain) * (accepts + rejects - 1) >= -1e-12
        more = candidates_verified(rate, accepts, rejects, k + 1)
        assert k + 1 + 1e-12 >= float(more) >= float(candidates_verified(rate, accepts, rejects, k))

    @given(RATE, K)
    def test_limits(self, rate: float, k: int) -> None:
        assert best_of_k([0, 1], 0.7, 0.8, k).tolist() == pytest.approx([0, 1])
        assert float(best_of_k(rate, 1, 1, k)) == pytest.approx(1 - (1 - rate) ** k)
        assert float(best_of_k(rate, 0, 1, k)) == pytest.approx(rate)
        assert float(best_of_k(rate, 1, 0, k)) == pytest.approx(rate)
        rejects_all = best_of_k(rate, 0, 1, k, "vote")
        assert float(rejects_all) == pytest.approx(float(vote_accuracy(rate, k)))
        assert float(candidates_verified(rate, 0, 1, k)) == k
        assert float(candidates_verified(rate, 1, 0, k)) == 1

    def test_fallbacks_are_those_of_the_verifier(self) -> None:
        verifier = aggregator(AggregatorConfig(name="verifier"))
        assert set(FALLBACKS) == set(verifier.choices["fallback"])

    def test_many_candidates_approach_the_precision_of_acceptance(self) -> None:
        precision = 0.3 * 0.8 / (0.3 * 0.8 + 0.7 * 0.1)
        assert float(best_of_k(0.3, 0.8, 0.9, 200)) == pytest.approx(precision)

    def test_keeps_the_shape(self) -> None:
        assert best_of_k(np.full((2, 3), 0.4), 0.9, 0.8, 5, "vote").shape == (2, 3)
        assert candidates_verified(np.full((2, 3), 0.4), 0.9, 0.8, 5).shape == (2, 3)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((1.1, 0.5, 0.5, 2), r"rates must lie in \[0, 1\], but got 1.1"),
            (([0.5, float("nan")], 0.5, 0.5, 2), r"rates must lie in \[0, 1\]"),
            ((0.5, -0.1, 0.5, 2), r"accepts_right must lie in \[0, 1\], but got -0.1"),
            ((0.5, 0.5, 2, 2), r"rejects_wrong must lie in \[0, 1\], but got 2"),
            ((0.5, 0.5, 0.5, 0), "k must be a whole number >= 1, but got 0"),
            ((0.5, 0.5, 0.5, 1.5), "k must be a whole number >= 1, but got 1.5"),
            ((0.5, 0.5, 0.5, 2, "last"), "fallback must be one of .*, but got 'last'"),
        ],
    )
    def test_refuses(self, arguments: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            best_of_k(*arguments)


class TestFromSamples:
    @pytest.mark.parametrize(
        ("mean_logit", "accepts", "rejects", "k"),
        [(-1.2, 0.95, 0.9, 8), (-0.3, 0.8, 0.8, 4), (0.6, 0.7, 0.9, 16)],
    )
    def test_six_samples_predict_within_two_points_and_the_naive_formulas_do_not(
        self, mean_logit: float, accepts: float, rejects: float, k: int
    ) -> None:
        errors = []
        for seed in range(1000, 1006):
            rng = np.random.default_rng(seed)
            rates = logistic(mean_logit + 1.5 * rng.normal(size=1000))
            true = best_of_k(
                logistic(mean_logit + 1.5 * np.random.default_rng(1).normal(size=200_000)),
                accepts, rejects, k,
            ).mean()  # fmt: skip
            right = rng.random((1000, 6)) < rates[:, None]
            accepted = rng.random((1000, 6)) < np.where(right, accepts, 1 - rejects)
            fitted = BestOfK.fit(
                right.sum(axis=1), 6, int((right & accepted).sum()), int((~right & ~accepted).sum())
            )
            assert fitted.accepts_right == pytest.approx(accepts, abs=0.03)
            assert fitted.rejects_wrong == pytest.approx(rejects, abs=0.03)
            at_mean = float(best_of_k(right.mean(), accepts, rejects, k))
            of_shares = float(best_of_k(right.mean(axis=1), accepts, rejects, k).mean())
            errors.append([abs(e - true) for e in (fitted.accuracy(k), at_mean, of_shares)])
        ours, at_mean, of_shares = np.mean(errors, axis=0)
        assert ours < 0.02 < of_shares < at_mean

    def test_averages_over_the_examples(self) -> None:
        spread = Difficulty(np.array([0.9, 0.2]), np.array([0.75, 0.25]))
        prediction = BestOfK(spread, 0.8, 0.7)
        for fallback in FALLBACKS:
            each = best_of_k([0.9, 0.2], 0.8, 0.7, 5, fallback)
            expected = 0.75 * each[0] + 0.25 * each[1]
            assert prediction.accuracy(5, fallback) == pytest.approx(expected)
        easy, hard = candidates_verified([0.9, 0.2], 0.8, 0.7, 5)
        assert prediction.candidates_verified(5) == pytest.approx(0.75 * easy + 0.25 * hard)

    def test_agrees_with_candidates_drawn(self) -> None:
        rng = np.random.default_rng(1000)
        spread = Difficulty(np.array([0.9, 0.2]), np.array([0.5, 0.5]))
        right = rng.random((200_000, 4)) < rng.choice([0.9, 0.2], (200_000, 1))
        accepted = rng.random(right.shape) < np.where(right, 0.8, 0.3)
        chosen = np.where(accepted.any(axis=1), accepted.argmax(axis=1), 0)
        measured = right[np.arange(len(right)), chosen].mean()
        assert BestOfK(spread, 0.8, 0.7).accuracy(4) == pytest.approx(measured, abs=0.004)
        drawn = np.where(accepted.any(axis=1), accepted.argmax(axis=1) + 1, 4).mean()
        assert BestOfK(spread, 0.8, 0.7).candidates_verified(4) == pytest.approx(drawn, abs=0.02)

    def test_no_verdict_on_wrong_answers_says_nothing_of_them(self) -> None:
        fitted = BestOfK.fit([6] * 10, 6, accepted_right=60, rejected_wrong=0)
        assert fitted.rejects_wrong == 0.5
        assert fitted.accepts_right == pytest.approx(60.5 / 61)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: BestOfK.fit([4, 2], 6, 7, 0), "`0 <= accepted_right <= 6` must hold"),
            (lambda: BestOfK.fit([4, 2], 6, 6, 7), "`0 <= rejected_wrong <= 6` must hold"),
            (lambda: BestOfK.fit([4, 2], 6, 6, -1), "but got -1"),
            (lambda: BestOfK.fit([7], 6, 6, 0), "has right=7, samples=6"),
            (lambda: BestOfK(ONE, 1.5, 0.5), "accepts_right must lie in"),
            (lambda: BestOfK(ONE, 0.5, 0.5).accuracy(0), "k must be a whole number"),
        ],
    )
    def test_refuses(self, call: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            call()


def logistic(logits: Floats) -> Floats:
    rates: Floats = 1 / (1 + np.exp(-logits))
    return rates
