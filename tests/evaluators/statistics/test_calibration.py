"""A judge's errors taken out of means and gains: estimates, coverage, and what always holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluators.metrics.human_labels import judge_agreement
from evaluators.statistics import Calibration, Interval, mean_interval, paired_interval

Array = NDArray[np.float64]
Judge = Callable[[np.random.Generator, Array], Array]
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=60)
SEEDS = st.integers(0, 10_000)


def verdicts(sensitivity: float, specificity: float) -> Judge:
    """A judge that says right or wrong."""

    def judge(generator: np.random.Generator, human: Array) -> Array:
        accepts = np.where(human == 1, sensitivity, 1 - specificity)
        return (generator.random(human.size) < accepts).astype(float)

    return judge


def grades(lowest: float, highest: float, noise: float) -> Judge:
    """A judge whose mean grade rises evenly with people's."""

    def judge(generator: np.random.Generator, human: Array) -> Array:
        mean = np.clip(lowest + (highest - lowest) * human, 0.02, 0.98)
        size = np.maximum(mean * (1 - mean) / noise**2 - 1, 0.5)
        return generator.beta(mean * size, (1 - mean) * size)

    return judge


def right_or_wrong(generator: np.random.Generator, mean: float, size: int) -> Array:
    return (generator.random(size) < mean).astype(float)


def graded(generator: np.random.Generator, mean: float, size: int) -> Array:
    return generator.beta(2 * mean, 2 * (1 - mean), size)


def calibration(judge: Judge, seed: int, labels: int = 40) -> Calibration:
    """As measured on labels of which every third is wrong."""
    human = np.resize([1.0, 1.0, 0.0], labels)
    return Calibration.fit(judge(np.random.default_rng(seed), human), human)


def test_verdicts_on_right_and_wrong_are_corrected_as_rogan_and_gladen_do() -> None:
    human = [1.0] * 10 + [0.0] * 10
    judge = [1.0] * 9 + [0.0] + [1.0] * 2 + [0.0] * 8
    found = Calibration.fit(judge, human)
    assert (found.fitted.slope, found.fitted.offset) == pytest.approx((0.9 + 0.8 - 1, 1 - 0.8))
    seen = [1.0] * 55 + [0.0] * 45
    assert found.mean_interval(seen).mean == pytest.approx((0.55 + 0.8 - 1) / 0.7)
    other = [1.0] * 48 + [0.0] * 52
    assert found.paired_interval(seen, other).mean == pytest.approx(0.07 / 0.7)


@pytest.mark.parametrize(
    ("judge", "people", "labels", "examples", "mean"),
    [
        (verdicts(1.0, 1.0), right_or_wrong, 20, 36, 0.9),
        (verdicts(0.97, 0.97), right_or_wrong, 20, 1000, 0.9),
        (verdicts(0.95, 0.9), right_or_wrong, 20, 36, 0.5),
        (verdicts(0.95, 0.9), right_or_wrong, 50, 200, 0.75),
        (verdicts(0.85, 0.75), right_or_wrong, 50, 36, 0.9),
        (verdicts(0.99, 0.6), right_or_wrong, 50, 1000, 0.9),
        (verdicts(0.7, 0.9), right_or_wrong, 200, 200, 0.75),
        (grades(0.1, 0.9, 0.15), right_or_wrong, 20, 60, 0.75),
        (grades(0.1, 0.9, 0.15), right_or_wrong, 50, 100, 0.9),
        (grades(0.1, 0.9, 0.1), graded, 20, 36, 0.5),
        (grades(0.3, 0.8, 0.15), graded, 50, 60, 0.75),
        (grades(0.2, 0.7, 0.25), graded, 200, 100, 0.9),
    ],
)
def test_coverage_of_corrected_means_and_gains(
    judge: Judge, people: Callable[..., Array], labels: int, examples: int, mean: float
) -> None:
    """Of people's true mean, and of a gain of 0.2 on the way to it."""
    generator = np.random.default_rng(0)
    means, gains = [], []
    for _ in range(300):
        human = people(generator, 0.6, labels)
        if np.ptp(human) == 0:
            continue
        found = Calibration.fit(judge(generator, human), human)
        if not found.informative:
            continue
        better, worse = people(generator, mean, examples), people(generator, mean - 0.2, examples)
        scores, others = judge(generator, better), judge(generator, worse)
        means.append(covers(found.mean_interval(scores), mean))
        gains.append(covers(found.paired_interval(scores, others), 0.2))
    assert len(means) > 250
    assert np.mean(means) >= 0.93
    assert np.mean(gains) >= 0.93


def test_neither_no_correction_nor_one_that_takes_the_line_for_certain_will_do() -> None:
    generator, judge = np.random.default_rng(0), verdicts(0.9, 0.8)
    plain, certain, ours = [], [], []
    for _ in range(300):
        human = right_or_wrong(generator, 0.6, 50)
        found = Calibration.fit(judge(generator, human), human)
        scores = judge(generator, right_or_wrong(generator, 0.8, 1000))
        message, line = mean_interval(scores), found.fitted
        ends = ((end - line.offset) / line.slope for end in (message.low, message.high))
        plain.append(covers(message, 0.8))
        certain.append(covers(Interval(0.0, *ends), 0.8))
        ours.append(covers(found.mean_interval(scores), 0.8))
    assert np.mean(plain) < 0.2
    assert np.mean(certain) < 0.7
    assert np.mean(ours) >= 0.93


@given(SCORES)
def test_a_judge_that_never_erred_on_many_labels_changes_nothing(scores: list[float]) -> None:
    human = np.resize([0.0, 1.0], 20_000)
    found = Calibration.fit(human, human).mean_interval(scores)
    plain = mean_interval(scores)
    assert found.mean == pytest.approx(plain.mean, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=2e-3)


@given(SCORES, SEEDS)
def test_the_interval_holds_its_mean_and_is_never_narrower_than_the_uncorrected_one(
    scores: list[float], seed: int
) -> None:
    found = calibration(grades(0.1, 0.9, 0.2), seed)
    assume(found.informative)
    plain, corrected, line = mean_interval(scores), found.mean_interval(scores), found.cautious
    low, high = ((end - line.offset) / line.slope for end in (plain.low, plain.high))
    assert 0 <= corrected.low <= corrected.mean <= corrected.high <= 1
    assert corrected.low <= max(low, 0) + 1e-9
    assert corrected.high >= min(high, 1) - 1e-9
    gain = found.paired_interval(scores, [0.3] * len(scores))
    plain = paired_interval(scores, [0.3] * len(scores))
    assert -1 <= gain.low <= gain.mean <= gain.high <= 1
    assert gain.low <= max(plain.low / line.slope, -1) + 1e-9
    assert gain.high >= min(plain.high / line.slope, 1) - 1e-9


@given(SCORES, SEEDS)
def test_a_gain_is_shown_after_the_correction_just_when_it_was_before(
    scores: list[float], seed: int
) -> None:
    found = calibration(verdicts(0.9, 0.8), seed)
    others = list(np.random.default_rng(seed).permutation(scores) * 0.5)
    plain = paired_interval(scores, others)
    assume(found.informative)
    assume(min(abs(plain.low), abs(plain.high)) > 1e-6)
    corrected = found.paired_interval(scores, others)
    assert (corrected.low > 0, corrected.high < 0) == (plain.low > 0, plain.high < 0)


@given(SCORES, SCORES, SEEDS)
def test_who_leads_before_the_correction_leads_after_it(
    a: list[float], b: list[float], seed: int
) -> None:
    found = calibration(grades(0.2, 0.7, 0.2), seed)
    assume(found.informative)
    means = found.mean_interval(a).mean, found.mean_interval(b).mean
    if mean_interval(a).mean <= mean_interval(b).mean:
        assert means[0] <= means[1]
    else:
        assert means[0] >= means[1]


@given(SCORES, SEEDS)
def test_the_same_labels_four_times_over_never_widen_it(scores: list[float], seed: int) -> None:
    generator = np.random.default_rng(seed)
    human = graded(generator, 0.6, 40)
    judge = grades(0.1, 0.9, 0.2)(generator, human)
    few, many = Calibration.fit(judge, human), Calibration.fit(np.tile(judge, 4), np.tile(human, 4))
    assume(few.informative)
    wide, narrow = few.mean_interval(scores), many.mean_interval(scores)
    assert wide.low - 1e-9 <= narrow.low
    assert narrow.high <= wide.high + 1e-9


@pytest.mark.parametrize("judge", [[0.5] * 40, [0.0, 1.0] * 20, [1.0, 1.0, 0.0, 0.0] * 10])
def test_a_judge_that_says_nothing_corrects_nothing(judge: list[float]) -> None:
    """It always says the same, the opposite, or what a coin says."""
    found = Calibration.fit(judge, [1.0, 0.0] * 20)
    assert not found.informative
    with pytest.raises(ValueError, match="the slope must be shown to be above 0, but it is"):
        found.mean_interval([0.5, 1.0])


def test_agreement_with_labels_of_right_and_wrong_is_reported_beside_chance() -> None:
    found = judge_agreement("j", [0.9, 0.6, 0.2, 0.7, 0.1, 0.3], [1, 1, 1, 0, 0, 0])
    assert (found.model, found.labels, found.correlation) == ("j", 6, None)
    assert found.agreement == pytest.approx(4 / 6)
    assert found.kappa == pytest.approx((4 / 6 - 1 / 2) / (1 / 2))
    assert judge_agreement("j", [1.0] * 4, [1, 1, 1, 0]).kappa == 0


def test_agreement_with_graded_labels_is_a_correlation() -> None:
    found = judge_agreement("j", [0.2, 0.3, 0.5, 0.6], [0.0, 0.25, 0.75, 1.0])
    assert (found.agreement, found.kappa) == (None, None)
    assert found.correlation == pytest.approx(1.0)
    assert (found.slope, found.offset) == pytest.approx((0.4, 0.2))
    assert judge_agreement("j", [0.5] * 4, [0.0, 0.25, 0.75, 1.0]).correlation == 0


def covers(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high
