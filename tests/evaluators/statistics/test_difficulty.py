from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluators.statistics.difficulty import Difficulty
from evaluators.statistics.intervals import Floats

COUNTS = st.lists(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=1,
    max_size=30,
)


class TestFit:
    @settings(max_examples=15)
    @given(COUNTS)
    def test_is_a_spread_whose_mean_is_near_that_of_the_samples(
        self, counts: list[tuple[int, int]]
    ) -> None:
        right, samples = zip(*counts, strict=True)
        spread = Difficulty.fit(right, samples)
        assert spread.weights.sum() == pytest.approx(1)
        assert spread.weights.min() >= 0
        n = sum(samples)
        shrunk = (sum(right) + 1) / (n + 2)
        assert spread.mean == pytest.approx(shrunk, abs=0.03 + 0.6 / np.sqrt(n))

    @settings(max_examples=10)
    @given(COUNTS, st.randoms())
    def test_right_and_wrong_are_treated_alike_and_order_does_not_matter(
        self, counts: list[tuple[int, int]], random: Any
    ) -> None:
        shuffled = list(counts)
        random.shuffle(shuffled)
        there = Difficulty.fit([r for r, _ in counts], [n for _, n in counts])
        back = Difficulty.fit([n - r for r, n in shuffled], [n for _, n in shuffled])
        assert back.weights == pytest.approx(there.weights[::-1], abs=1e-6)

    def test_finds_two_points(self) -> None:
        right = sampled(np.random.default_rng(1000), [0.9, 0.35], [0.7, 0.3], 2000, 6)
        spread = Difficulty.fit(right, 6)
        assert spread.weights[80:].sum() == pytest.approx(0.7, abs=0.05)
        assert spread.weights[20:50].sum() == pytest.approx(0.3, abs=0.05)

    @pytest.mark.parametrize("samples", [2, 6])
    def test_takes_the_sampling_noise_out(self, samples: int) -> None:
        """The variance of the rates is found; that of the shares right is far too large."""
        rng = np.random.default_rng(1001)
        rates = rng.beta(4, 3, 4000)
        right = rng.binomial(samples, rates)
        spread = Difficulty.fit(right, samples)
        variance = spread.average(spread.rates**2) - spread.mean**2
        true = 4 * 3 / (7**2 * 8)
        assert variance == pytest.approx(true, rel=0.25)
        assert np.var(right / samples) > 1.9 * true

    def test_examples_with_other_numbers_of_samples_count_by_what_they_tell(self) -> None:
        rng = np.random.default_rng(1002)
        samples = rng.integers(1, 9, 3000)
        right = rng.binomial(samples, rng.choice([0.9, 0.3], 3000))
        spread = Difficulty.fit(right, samples)
        assert spread.weights[60:].sum() == pytest.approx(0.5, abs=0.05)
        assert spread.average(spread.rates**2) == pytest.approx(0.45, abs=0.02)

    def test_enough_samples_tell_a_spread_of_no_assumed_shape(self) -> None:
        rates, weights = [0.9, 0.4, 0.05], [0.5, 0.3, 0.2]
        spread = Difficulty.fit(sampled(np.random.default_rng(1003), rates, weights, 1000, 24), 24)
        for rate, weight in zip(rates, weights, strict=True):
            near = np.abs(spread.rates - rate) < 0.1
            assert spread.weights[near].sum() == pytest.approx(weight, abs=0.05)

    def test_any_number_of_samples_is_fitted(self) -> None:
        spread = Difficulty.fit([2000, 10_000, 18_000] * 20, 20_000)
        found = spread.rates[spread.weights > 0.01]
        assert found == pytest.approx([0.1, 0.5, 0.9])
        assert Difficulty.fit([1], 1).mean > Difficulty.fit([0], 1).mean

    def test_all_right_is_nearly_surely_right(self) -> None:
        assert Difficulty.fit([6] * 500, 6).mean > 0.995
        assert Difficulty.fit([0] * 500, 6).mean < 0.005

    @pytest.mark.parametrize(
        ("right", "samples", "message"),
        [
            ([], 6, "at least one count"),
            ([[1, 2]], 6, "at least one count"),
            (3, 6, "at least one count"),
            ([1, 2, 3], [6, 6], r"one per example, but got shape \(2,\) for 3 examples"),
            ([1, 7], 6, "example 1 has right=7, samples=6"),
            ([-1], 6, "example 0 has right=-1"),
            ([0], 0, "`samples >= 1` must hold, but example 0 has right=0, samples=0"),
            ([0.5], 6, "must be whole numbers"),
            ([float("nan")], 6, "must be whole numbers"),
        ],
    )
    def test_refuses(self, right: Any, samples: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Difficulty.fit(right, samples)


class TestDifficulty:
    def test_averages(self) -> None:
        spread = Difficulty(np.array([0.9, 0.2]), np.array([0.75, 0.25]))
        assert spread.mean == pytest.approx(0.725)
        assert spread.average([1, 3]) == pytest.approx(1.5)

    def test_is_not_changed_from_outside(self) -> None:
        rates = np.array([0.9, 0.2])
        spread = Difficulty(rates, np.array([0.75, 0.25]))
        rates[0] = 0.0
        assert spread.rates[0] == 0.9
        with pytest.raises(ValueError, match="read-only"):
            spread.weights[0] = 1.0

    @pytest.mark.parametrize(
        ("rates", "weights", "message"),
        [
            ([], [], "same length"),
            ([0.5], [0.5, 0.5], "same length"),
            ([1.5], [1.0], r"rates must lie in \[0, 1\]"),
            ([float("nan")], [1.0], r"rates must lie in \[0, 1\]"),
            ([0.5, 0.6], [0.5, 0.6], "sum to 1"),
            ([0.5, 0.6], [-0.5, 1.5], ">= 0"),
        ],
    )
    def test_refuses(self, rates: Any, weights: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Difficulty(rates, weights)


def sampled(
    rng: np.random.Generator, rates: list[float], weights: list[float], examples: int, samples: int
) -> NDArray[np.int64]:
    """How many samples are right, per example."""
    drawn: Floats = rng.choice(rates, examples, p=weights)
    return rng.binomial(samples, drawn)
