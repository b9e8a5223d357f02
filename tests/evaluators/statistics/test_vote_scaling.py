from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.statistics.difficulty import Difficulty
from evaluators.statistics.vote_scaling import VoteScaling, vote_accuracy

ODD = range(1, 52, 2)
RATES = st.floats(0, 1)
WIDTH = st.integers(1, 60)


class TestVoteAccuracy:
    @pytest.mark.parametrize("width", range(1, 9))
    @pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.77, 1.0])
    def test_is_what_counting_every_outcome_gives(self, rate: float, width: int) -> None:
        total = 0.0
        for votes in itertools.product([0, 1], repeat=width):
            chance = math.prod(rate if vote else 1 - rate for vote in votes)
            total += chance * ((2 * sum(votes) > width) + 0.5 * (2 * sum(votes) == width))
        assert vote_accuracy(rate, width) == pytest.approx(total, abs=1e-14)

    @pytest.mark.parametrize("width", [101, 500, 501])
    @pytest.mark.parametrize("rate", [Fraction(3, 10), Fraction(49, 100), Fraction(11, 20)])
    def test_is_exact_at_large_widths(self, rate: Fraction, width: int) -> None:
        half = Fraction(width, 2)
        exact = sum(
            math.comb(width, k)
            * rate**k
            * (1 - rate) ** (width - k)
            * (1 if k > half else Fraction(1, 2))
            for k in range(math.ceil(half), width + 1)
        )
        assert float(vote_accuracy(float(rate), width)) == pytest.approx(float(exact), abs=1e-13)

    @given(RATES, WIDTH)
    def test_right_and_wrong_mirror_each_other(self, rate: float, width: int) -> None:
        there, back = vote_accuracy([rate, 1 - rate], width)
        assert there + back == pytest.approx(1, abs=1e-12)
        assert 0 <= there <= 1

    @given(RATES, st.integers(1, 30))
    def test_wider_moves_away_from_a_half_and_even_widths_are_the_odd_ones_below(
        self, rate: float, m: int
    ) -> None:
        odd, even, wider = (float(vote_accuracy(rate, w)) for w in (2 * m - 1, 2 * m, 2 * m + 1))
        assert even == odd
        assert (wider - odd) * (rate - 0.5) >= -1e-15

    @given(st.lists(RATES, min_size=2, max_size=5), WIDTH)
    def test_grows_with_the_rate(self, rates: list[float], width: int) -> None:
        accuracy = vote_accuracy(sorted(rates), width)
        assert bool(np.all(np.diff(accuracy) >= -1e-12))

    def test_limits(self) -> None:
        assert vote_accuracy([0, 0.5, 1], 501) == pytest.approx([0, 0.5, 1], abs=1e-14)
        assert vote_accuracy([0.2, 0.7], 1) == pytest.approx([0.2, 0.7], abs=1e-15)
        assert float(vote_accuracy(0.6, 501)) > 0.999996

    def test_keeps_the_shape(self) -> None:
        assert vote_accuracy(np.full((2, 3), 0.4), 5).shape == (2, 3)
        assert vote_accuracy(0.4, 5).shape == ()

    @pytest.mark.parametrize(
        ("rates", "width", "message"),
        [
            (1.2, 3, r"rates must lie in \[0, 1\], but got 1.2"),
            (float("nan"), 3, r"rates must lie in \[0, 1\]"),
            (0.5, 0, r"a width must be a whole number >= 1, but got \[0\]"),
            (0.5, 2.5, "a width must be a whole number"),
        ],
    )
    def test_refuses(self, rates: Any, width: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            vote_accuracy(rates, width)


class TestVoteScaling:
    def test_rises_and_then_falls(self) -> None:
        """The published effect: easy examples are settled first, then hard ones are lost."""
        scaling = VoteScaling(two_points(0.85, 0.85, 0.38))
        curve = scaling.curve(ODD)
        peak = int(curve.argmax())
        assert ODD[peak] == 9
        assert bool(np.all(np.diff(curve[: peak + 1]) > 0))
        assert bool(np.all(np.diff(curve[peak:]) < 0))
        assert scaling.accuracy(1) == pytest.approx(0.85 * 0.85 + 0.15 * 0.38)
        assert scaling.accuracy(501) == pytest.approx(0.85, abs=1e-3)

    @given(st.floats(0.05, 0.95), st.floats(0.51, 0.99), st.floats(0.01, 0.49))
    def test_peaks_where_the_formula_for_two_points_has_it(
        self, share: float, easy: float, hard: float
    ) -> None:
        """Equal gains and losses: Chen et al., 2024, section 4, up to rounding to odd widths."""
        curve = VoteScaling(two_points(share, easy, hard)).curve(range(1, 202, 2))
        odds = share * (2 * easy - 1) / ((1 - share) * (1 - 2 * hard))
        ratio = math.log(hard * (1 - hard) / (easy * (1 - easy)))
        if ratio < 0.01:  # a valley, or as good as flat: the best width is at an end
            return
        last_gain = math.floor(math.log(odds) / ratio)  # steps from 2j - 1 to 2j + 1 that gain
        expected = min(max(last_gain, 0), 100)
        assert curve[expected] >= curve.max() - 1e-9

    def test_agrees_with_votes_taken(self) -> None:
        rng = np.random.default_rng(1000)
        rates = rng.choice([0.9, 0.35], 200_000, p=[0.7, 0.3])
        for width in (1, 3, 4, 9):
            right = rng.binomial(width, rates)
            measured = np.mean((2 * right > width) + 0.5 * (2 * right == width))
            predicted = VoteScaling(two_points(0.7, 0.9, 0.35)).accuracy(width)
            assert predicted == pytest.approx(measured, abs=0.004)

    @pytest.mark.parametrize(
        ("share", "easy", "hard"), [(0.4, 0.9, 0.35), (0.7, 0.9, 0.35), (0.85, 0.85, 0.38)]
    )
    def test_six_samples_choose_a_width_as_good_as_the_best(
        self, share: float, easy: float, hard: float
    ) -> None:
        """The majority formula at the mean accuracy, the trivial rival, is off by over a point."""
        truth = VoteScaling(two_points(share, easy, hard))
        best = truth.curve(ODD).max()
        lost = []
        for seed in range(1000, 1006):
            rng = np.random.default_rng(seed)
            right = rng.binomial(6, rng.choice([easy, hard], 1000, p=[share, 1 - share]))
            lost.append(best - truth.accuracy(VoteScaling.fit(right, 6).best_width(ODD)))
        mean = VoteScaling(Difficulty(np.array([truth.accuracy(1)]), np.ones(1)))
        rival = best - truth.accuracy(mean.best_width(ODD))
        assert np.median(lost) <= 0.002
        assert sum(loss <= 0.005 for loss in lost) >= 5
        assert rival > 0.01

    def test_two_samples_or_other_numbers_of_them_predict_too(self) -> None:
        rng = np.random.default_rng(1007)
        truth = VoteScaling(two_points(0.7, 0.9, 0.35))
        samples = rng.integers(2, 9, 3000)
        right = rng.binomial(samples, rng.choice([0.9, 0.35], 3000, p=[0.7, 0.3]))
        fitted = VoteScaling.fit(right, samples)
        assert fitted.curve(ODD) == pytest.approx(truth.curve(ODD), abs=0.03)

    def test_best_width_is_the_smallest_of_those_as_good(self) -> None:
        flat = VoteScaling(Difficulty(np.array([0.5]), np.ones(1)))
        assert flat.best_width([9, 3, 5]) == 3
        scaling = VoteScaling(two_points(0.86, 0.74, 0.38))
        exactly, nearly, roughly = (scaling.best_width(ODD, t) for t in (0.0, 0.001, 0.05))
        assert roughly < nearly < exactly == 25
        assert scaling.best_width([7]) == 7

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda s: s.curve([]), "at least one"),
            (lambda s: s.curve([3, 0]), r"whole number >= 1, but got \[3, 0\]"),
            (lambda s: s.accuracy(1.5), "whole number >= 1"),
            (lambda s: s.accuracy(float("nan")), "whole number >= 1"),
            (lambda s: s.best_width([]), "at least one"),
            (lambda s: s.best_width([1], -1), "`tolerance >= 0` must hold, but got -1"),
            (
                lambda s: VoteScaling(s.difficulty, 0.0),
                "`0 < decisive <= 1` must hold, but got 0.0",
            ),
            (lambda s: VoteScaling.fit([1], 2, 1.5), "`0 < decisive <= 1` must hold, but got 1.5"),
            (lambda s: VoteScaling.fit([3], 2), "has right=3, samples=2"),
        ],
    )
    def test_refuses(self, call: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            call(VoteScaling(two_points(0.5, 0.9, 0.2)))


class TestDecisiveVotes:
    @settings(max_examples=30)
    @given(RATES, st.floats(0.05, 1), st.integers(1, 7))
    def test_is_what_counting_every_outcome_gives(
        self, rate: float, decisive: float, width: int
    ) -> None:
        """A vote is right, the strongest wrong answer, or neither; nothing decisive is wrong."""
        chances = {1: decisive * rate, -1: decisive * (1 - rate), 0: 1 - decisive}
        total = 0.0
        for votes in itertools.product(chances, repeat=width):
            balance, voted = sum(votes), any(votes)
            won = (balance > 0) + 0.5 * (balance == 0 and voted)
            total += math.prod(chances[vote] for vote in votes) * won
        scaling = VoteScaling(Difficulty(np.array([rate]), np.ones(1)), decisive)
        assert scaling.accuracy(width) == pytest.approx(total, abs=1e-12)

    def test_width_one_is_how_often_the_right_answer_comes(self) -> None:
        scaling = VoteScaling(two_points(0.5, 0.9, 0.4), decisive=0.8)
        assert scaling.accuracy(1) == pytest.approx(0.8 * 0.65)

    def test_large_widths_stay_exact(self) -> None:
        """The mean over how many votes decide, each number as likely as the binomial has it."""
        spread, share = two_points(0.5, 0.9, 0.4), 0.01
        expected = sum(
            math.comb(501, n)
            * share**n
            * (1 - share) ** (501 - n)
            * VoteScaling(spread).accuracy(n)
            for n in range(1, 60)
        )
        assert VoteScaling(spread, share).accuracy(501) == pytest.approx(expected, abs=1e-12)

    def test_predicts_a_plurality_vote_where_the_majority_formula_fails(self) -> None:
        """Ten wrong answers beside the right one; six samples of 1,000 examples."""
        rng = np.random.default_rng(1000)
        rates = 1 / (1 + np.exp(-0.3 - 1.5 * rng.normal(size=1000)))
        wrong = rng.dirichlet(np.ones(10), 1000) * (1 - rates[:, None])
        chances = np.column_stack([rates, wrong])
        answers = rng.multinomial(6, chances)
        right, strongest = answers[:, 0], answers[:, 1:].max(axis=1)
        decisive = float((right + strongest).sum() / answers.sum())
        plurality = VoteScaling.fit(right, right + strongest, decisive)
        majority = VoteScaling.fit(right, 6)
        for width in (9, 25):
            votes = np.concatenate([rng.multinomial(width, chances) for _ in range(20)])
            first = votes == votes.max(axis=1, keepdims=True)
            true = float(np.mean(first[:, 0] / first.sum(axis=1)))
            assert plurality.accuracy(width) == pytest.approx(true, abs=0.05)
            assert majority.accuracy(width) < true - 0.15


def two_points(share: float, easy: float, hard: float) -> Difficulty:
    """Easy examples, this share of all, and hard ones."""
    return Difficulty(np.array([easy, hard]), np.array([share, 1 - share]))
