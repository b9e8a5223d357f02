from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad
from scipy.stats import beta, binom, binomtest, multinomial

from evaluators.statistics import Interval, PairedTest, mean_interval, paired_interval

Sample = Callable[[np.random.Generator, int], NDArray[np.float64]]
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


class TestMeanInterval:
    @pytest.mark.parametrize("n", [1, 5, 36, 300])
    @pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
    def test_is_clopper_pearsons_for_zeros_and_ones(self, n: int, confidence: float) -> None:
        for right in range(0, n + 1, max(1, n // 12)):
            interval = mean_interval([1.0] * right + [0.0] * (n - right), confidence)
            exact = binomtest(right, n).proportion_ci(confidence, method="exact")
            assert interval.mean == pytest.approx(right / n)
            assert (interval.low, interval.high) == pytest.approx(exact, abs=1e-9)

    @pytest.mark.parametrize("n", [5, 10, 36, 100])
    def test_exact_coverage_of_zeros_and_ones(self, n: int) -> None:
        """Also on both sides of every point where coverage jumps."""
        found = [mean_interval([1.0] * right + [0.0] * (n - right)) for right in range(n + 1)]
        ends = np.array([(i.low, i.high) for i in found]).ravel()
        grid = np.concatenate([ends - 1e-9, ends + 1e-9, np.linspace(0, 1, 500)])
        means = grid[(grid >= 0) & (grid <= 1)]
        assert exact_coverage(found, means).min() >= 0.95

    def test_the_rivals_fail_where_this_one_holds(self) -> None:
        n, means = 36, np.linspace(0.99, 0.999, 100)
        wilson = [binomtest(k, n).proportion_ci(method="wilson") for k in range(n + 1)]
        ours = [mean_interval([1.0] * k + [0.0] * (n - k)) for k in range(n + 1)]
        naive = []
        for k in range(n + 1):
            half = 1.96 * math.sqrt(k / n * (1 - k / n) / n)
            naive.append(Interval(k / n, k / n - half, k / n + half))
        assert exact_coverage(naive, means).max() < 0.4
        assert exact_coverage(wilson, means).min() < 0.85
        assert exact_coverage(ours, means).min() > 0.97

    @pytest.mark.parametrize("n", [5, 18, 60])
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
        intervals = [mean_interval(draw(generator, n)) for _ in range(200)]
        assert np.mean([i.low <= mean <= i.high for i in intervals]) >= 0.95

    @pytest.mark.parametrize("n", [1, 4, 30])
    def test_the_ends_are_quantiles_of_randomly_weighted_means(self, n: int) -> None:
        generator = np.random.default_rng(1)
        scores = generator.beta(0.5, 1, n)
        weights = generator.dirichlet(np.ones(n + 1), 100_000)
        interval = mean_interval(scores, 0.9)
        for end, added in ((interval.high, 1.0), (interval.low, 0.0)):
            above = weights @ np.append(scores, added) > end
            assert above.mean() == pytest.approx(0.05 if added else 0.95, abs=0.003)

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
    @pytest.mark.parametrize("n", [5, 10, 18])
    def test_exact_coverage_of_zeros_and_ones(self, n: int) -> None:
        counts = [(wins, losses) for wins in range(n + 1) for losses in range(n + 1 - wins)]
        found = [paired_counts(wins, losses, n) for wins, losses in counts]
        low, high = (np.array(ends) for ends in zip(*((i.low, i.high) for i in found), strict=True))
        rates = np.concatenate([[0.0], np.geomspace(0.001, 1, 15)])
        for win, lose in itertools.product(rates, rates):
            if win + lose <= 1:
                shares = (win, lose, max(0.0, 1 - win - lose))
                outcomes = [(w, m, n - w - m) for w, m in counts]
                chances = multinomial.pmf(outcomes, n, shares)
                covered = (low - 1e-9 <= win - lose) & (win - lose <= high + 1e-9)
                assert chances @ covered >= 0.95
                if win <= lose:
                    assert chances @ (low > 1e-9) <= 0.025

    @pytest.mark.parametrize("ties", [0, 3, 80])
    @pytest.mark.parametrize("confidence", [0.8, 0.95])
    def test_a_gain_is_shown_just_where_the_sign_test_rejects(
        self, ties: int, confidence: float
    ) -> None:
        for wins, losses in itertools.product(range(1, 24, 2), range(0, 12, 2)):
            interval = paired_counts(wins, losses, wins + losses + ties, confidence)
            test = binomtest(wins, wins + losses, alternative="greater")
            assert (interval.low > 0) == (test.pvalue <= (1 - confidence) / 2)

    @pytest.mark.parametrize("n", [18, 60])
    def test_coverage_of_graded_scores(self, n: int) -> None:
        generator = np.random.default_rng(2)
        true = 5 / 6 - 0.5
        intervals = [
            paired_interval(generator.beta(5, 1, n), generator.beta(2, 2, n)) for _ in range(200)
        ]
        assert np.mean([i.low <= true <= i.high for i in intervals]) >= 0.95

    def test_pairing_narrows(self) -> None:
        a = np.array([1.0, 0.0] * 50)
        b = a.copy()
        b[:6] = 0.0
        paired = paired_interval(a, b)
        unpaired = mean_interval(a).high - mean_interval(a).low
        assert paired.mean == pytest.approx(0.03)
        assert paired.high - paired.low < unpaired

    @pytest.mark.parametrize("n", [5, 100, 1000])
    def test_ties_leave_room_for_differences_too_rare_to_be_seen(self, n: int) -> None:
        interval = paired_interval([1.0] * n, [1.0] * n)
        assert interval.mean == 0
        assert interval.low == pytest.approx(-interval.high)
        assert interval.high == pytest.approx(1 - 0.025 ** (1 / n))

    def test_one_win_among_a_thousand_ties_is_accurate(self) -> None:
        """The lower end: losses weigh more than the win does by S * (2U - 1), S ~ Beta(2, 999)."""
        end = -paired_counts(1, 0, 1000).low
        above = quad(lambda s: beta.pdf(s, 2, 999) * (1 - end / s) / 2, end, 0.1, epsabs=1e-12)[0]
        assert above == pytest.approx(0.025, rel=1e-4)

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


def exact_coverage(intervals: Sequence[Any], means: ArrayLike) -> NDArray[np.float64]:
    """Of the intervals for 0, ..., n right answers, at each of the true means."""
    n, true = len(intervals) - 1, np.asarray(means)[:, None]
    low, high = (np.array([getattr(i, end) for i in intervals]) for end in ("low", "high"))
    covered: NDArray[np.float64] = (
        binom.pmf(np.arange(n + 1), n, true) * ((low <= true) & (true <= high))
    ).sum(axis=1)
    return covered


def paired_counts(wins: int, losses: int, n: int, confidence: float = 0.95) -> Interval:
    a = [1.0] * wins + [0.0] * losses + [1.0] * (n - wins - losses)
    b = [0.0] * wins + [1.0] * losses + [1.0] * (n - wins - losses)
    return paired_interval(a, b, confidence)


def any_naive_rejection(run: NDArray[np.float64], alpha: float) -> bool:
    """A one-sided z-test looked at after every example from the tenth on."""
    z = {0.1: 1.2816}[alpha]
    sums = list(itertools.accumulate(run))
    squares = list(itertools.accumulate(run**2))
    return any(s < -z * math.sqrt(q) for s, q in zip(sums[9:], squares[9:], strict=True))
