from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluators.statistics import Interval, PairedTest, mean_interval, paired_interval

Sample = Callable[[np.random.Generator, int], NDArray[np.float64]]
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


class TestMeanInterval:
    @pytest.mark.parametrize(
        ("right", "n", "low", "high"),
        [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ],
    )
    def test_is_wilsons_for_right_and_wrong(
        self, right: int, n: int, low: float, high: float
    ) -> None:
        """Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3."""
        interval = mean_interval([1] * right + [0] * (n - right))
        assert interval.mean == pytest.approx(right / n)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-5)

    @pytest.mark.parametrize("n", [10, 30, 100])
    @pytest.mark.parametrize("p", [0.5, 0.7, 0.9])
    def test_exact_coverage_of_right_and_wrong(self, n: int, p: float) -> None:
        assert binomial_coverage(n, p, mean_interval) >= 0.92

    @pytest.mark.parametrize("n", [10, 30, 100])
    def test_mean_coverage_of_right_and_wrong_is_nominal(self, n: int) -> None:
        chances = np.linspace(0.02, 0.98, 49)
        assert np.mean([binomial_coverage(n, p, mean_interval) for p in chances]) >= 0.945

    def test_the_naive_interval_fails_where_this_one_holds(self) -> None:
        def naive(scores: Any) -> Interval:
            mean = float(np.mean(scores))
            half = 1.96 * math.sqrt(mean * (1 - mean) / len(scores))
            return Interval(mean, mean - half, mean + half)

        assert binomial_coverage(30, 0.95, naive) < 0.80
        assert binomial_coverage(30, 0.95, mean_interval) > 0.93

    @pytest.mark.parametrize("n", [10, 30, 100])
    @pytest.mark.parametrize(
        ("draw", "mean"),
        [
            (lambda g, n: g.beta(0.5, 0.5, n), 0.5),
            (lambda g, n: g.beta(5, 1, n), 5 / 6),
            (lambda g, n: g.choice([0, 0.25, 0.5, 0.75, 1], n, p=[0.1, 0.1, 0.2, 0.3, 0.3]), 0.65),
            (lambda g, n: g.choice([0.5, 1, 0], n, p=[0.95, 0.04, 0.01]), 0.515),
            # rare outliers far off
            (lambda g, n: g.choice([0.9, 0], n, p=[0.95, 0.05]), 0.855),
            (lambda g, n: g.choice([0.95, 0], n, p=[0.98, 0.02]), 0.931),
            (lambda g, n: g.choice([1, 0.5], n, p=[0.95, 0.05]), 0.975),
        ],
    )
    def test_coverage_of_graded_scores(self, draw: Sample, mean: float, n: int) -> None:
        generator = np.random.default_rng(0)
        intervals = [mean_interval(draw(generator, n)) for _ in range(1000)]
        assert np.mean([i.low <= mean <= i.high for i in intervals]) >= 0.93

    def test_graded_scores_that_vary_less_get_less_width(self) -> None:
        graded = mean_interval([0.4, 0.5, 0.6] * 20)
        binary = mean_interval([0, 1] * 30)
        assert graded.high - graded.low < (binary.high - binary.low) / 3

    @given(SCORES, st.floats(0.5, 0.999))
    def test_encloses_the_mean_within_bounds_and_is_never_nothing(
        self, scores: list[float], confidence: float
    ) -> None:
        interval = mean_interval(scores, confidence)
        assert 0 <= interval.low <= interval.mean <= interval.high <= 1
        assert interval.low < interval.high
        flipped = mean_interval([1 - s for s in scores], confidence)
        assert flipped.low == pytest.approx(1 - interval.high, abs=1e-6)

    def test_the_last_digit_of_a_score_does_not_matter(self) -> None:
        exact, nearly = mean_interval([1.0] * 20), mean_interval([1 - 1e-9] * 20)
        assert (nearly.low, nearly.high) == pytest.approx((exact.low, exact.high), abs=1e-6)

    def test_more_confidence_is_wider(self) -> None:
        scores = [0.0, 1.0, 1.0, 0.5]
        widths = [i.high - i.low for i in (mean_interval(scores, c) for c in (0.5, 0.9, 0.99))]
        assert widths == sorted(widths)

    def test_reads_well(self) -> None:
        assert str(Interval(0.742, 0.6911, 0.7867)) == "0.742 [0.691, 0.787]"

    @pytest.mark.parametrize(
        ("scores", "confidence", "message"),
        [
            ([], 0.95, "at least one score"),
            ([[0.5]], 0.95, "at least one score"),
            ([0.5, 2], 0.95, r"must lie in \[0, 1\]"),
            ([float("nan")], 0.95, r"must lie in \[0, 1\]"),
            ([0.5], 95, "`0 < confidence < 1` must hold, but got 95"),
        ],
    )
    def test_refuses(self, scores: Any, confidence: float, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            mean_interval(scores, confidence)


class TestPairedInterval:
    @pytest.mark.parametrize("n", [30, 100])
    @pytest.mark.parametrize(
        ("both", "only_a", "only_b"),
        [
            (0.5, 0.0, 0.0),  # all ties
            (0.25, 0.25, 0.25),  # independent coins
            (0.9025, 0.0475, 0.0475),  # both right 95% of the time, independently
            (0.9, 0.05, 0.05),
            (0.93, 0.02, 0.02),
            (0.5, 0.07, 0.0),  # rare wins, no loss: Newcombe's covers 0.89 at n=30
            (0.5, 0.02, 0.0),  # and 0.89 at n=100
            (0.95, 0.0, 0.05),
            (0.3, 0.2, 0.05),
            (0.05, 0.9, 0.0),
        ],
    )
    def test_coverage(self, both: float, only_a: float, only_b: float, n: int) -> None:
        generator = np.random.default_rng(1)
        chances = [both, only_a, only_b, max(0.0, 1 - both - only_a - only_b)]
        outcomes = generator.choice(4, (1000, n), p=chances)
        covered = 0
        for outcome in outcomes:
            interval = paired_interval(outcome <= 1, (outcome == 0) | (outcome == 2))
            covered += interval.low - 1e-12 <= only_a - only_b <= interval.high + 1e-12
        assert covered / 1000 >= 0.93

    @pytest.mark.parametrize("n", [30, 100])
    def test_coverage_of_graded_scores(self, n: int) -> None:
        generator = np.random.default_rng(2)
        true = 5 / 6 - 0.5
        intervals = [
            paired_interval(generator.beta(5, 1, n), generator.beta(2, 2, n)) for _ in range(1000)
        ]
        assert np.mean([i.low <= true <= i.high for i in intervals]) >= 0.93

    def test_pairing_narrows(self) -> None:
        a = np.array([1.0, 0.0] * 50)
        b = a.copy()
        b[:6] = 0.0
        paired = paired_interval(a, b)
        unpaired = mean_interval(a).high - mean_interval(a).low
        assert paired.mean == pytest.approx(0.03)
        assert paired.high - paired.low < unpaired

    def test_all_ties_keep_the_width_of_the_rule_of_three(self) -> None:
        interval = paired_interval([1.0] * 100, [1.0] * 100)
        assert interval.mean == 0
        assert interval.high == pytest.approx(math.log(20) / 100, rel=0.05)

    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
    def test_antisymmetric_and_bounded(self, pairs: list[tuple[float, float]]) -> None:
        a, b = ([pair[side] for pair in pairs] for side in (0, 1))
        there, back = paired_interval(a, b), paired_interval(b, a)
        assert -1 <= there.low <= there.mean + 1e-12
        assert there.mean - 1e-12 <= there.high <= 1
        assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-6)

    def test_refuses_unequal_sides(self) -> None:
        with pytest.raises(ValueError, match="equally many, but got 2 and 1"):
            paired_interval([1, 0], [1])
        with pytest.raises(ValueError, match="b must lie in"):
            paired_interval([1, 0], [1, 3])


class TestPairedTest:
    @pytest.mark.parametrize(
        ("wins", "losses"), [(0.05, 0.05), (0.25, 0.25), (0.5, 0.5), (0.005, 0.005)]
    )
    def test_peeking_after_every_example_keeps_the_error_rate(
        self, wins: float, losses: float
    ) -> None:
        alpha, generator = 0.1, np.random.default_rng(3)
        runs = generator.choice([1.0, -1.0, 0.0], (300, 200), p=[wins, losses, 1 - wins - losses])
        worse = naive = 0
        for run in runs:
            test = PairedTest()
            worse += any(test.update(difference).rejects(alpha) for difference in run)
            naive += any_naive_rejection(run, alpha)
        three_errors = 3 * math.sqrt(alpha * (1 - alpha) / len(runs))
        assert worse / len(runs) <= alpha + three_errors
        assert naive / len(runs) > alpha + three_errors or wins < 0.01  # the rival fails

    def test_skewed_differences_of_mean_zero_keep_the_error_rate(self) -> None:
        """Mostly small losses made up for by rare large wins: the hardest case for `rejects`."""
        generator = np.random.default_rng(4)
        rejected = 0
        for _ in range(400):
            test = PairedTest()
            for batch in generator.choice([0.9, -0.1], (30, 10), p=[0.1, 0.9]):
                if test.update(batch).rejects(0.1):
                    rejected += 1
                    break
        assert rejected / 400 <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 400)

    @pytest.mark.parametrize(
        ("candidate", "incumbent", "examples"), [(0.05, 0.35, 40), (0.0, 0.9, 12), (0.5, 0.7, 120)]
    )
    def test_a_worse_candidate_is_typically_found_within(
        self, candidate: float, incumbent: float, examples: int
    ) -> None:
        generator = np.random.default_rng(5)
        found = 0
        for _ in range(200):
            a, b = generator.random((2, examples)) < np.array([[candidate], [incumbent]])
            test = PairedTest()
            found += any(test.update(d).rejects(0.05) for d in a.astype(float) - b)
        assert found / 200 > 0.5

    @given(st.lists(st.floats(-1, 1), max_size=30), st.randoms())
    def test_neither_batches_nor_order_matter(self, differences: list[float], random: Any) -> None:
        whole = PairedTest().update(differences)
        shuffled = list(differences)
        random.shuffle(shuffled)
        single = PairedTest()
        for difference in shuffled:
            single.update(difference)
        assert single.evidence_worse == pytest.approx(whole.evidence_worse)
        assert single.examples == whole.examples == len(differences)

    def test_no_example_is_no_evidence(self) -> None:
        test = PairedTest().update([])
        assert (test.evidence_worse, test.examples) == (1.0, 0)
        assert not test.rejects(0.05)

    def test_overwhelming_evidence_stays_finite(self) -> None:
        test = PairedTest().update(np.full(100_000, -1.0))
        assert 1e300 < test.evidence_worse < math.inf

    @pytest.mark.parametrize("bad", [[0.5, 1.5], [float("nan")]])
    def test_refuses_what_is_no_difference_and_stays_as_it_was(self, bad: list[float]) -> None:
        test = PairedTest().update([-1.0])
        before = test.evidence_worse
        with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]"):
            test.update(bad)
        assert (test.evidence_worse, test.examples) == (before, 1)


def binomial_coverage(n: int, p: float, interval: Callable[[Any], Interval]) -> float:
    """The exact chance that the interval of n right-or-wrong scores covers p."""
    covered = 0.0
    for right in range(n + 1):
        found = interval([1.0] * right + [0.0] * (n - right))
        if found.low <= p <= found.high:
            covered += math.comb(n, right) * p**right * (1 - p) ** (n - right)
    return covered


def any_naive_rejection(run: NDArray[np.float64], alpha: float) -> bool:
    """A one-sided z-test looked at after every example from the tenth on."""
    z = {0.1: 1.2816}[alpha]
    sums = list(itertools.accumulate(run))
    squares = list(itertools.accumulate(run**2))
    return any(s < -z * math.sqrt(q) for s, q in zip(sums[9:], squares[9:], strict=True))
