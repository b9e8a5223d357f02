"""The benchmark on real samples of a small model: its table, and what it serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import small_models_subject as subject
from optimizer.search.strategies import STRATEGIES


@pytest.fixture(autouse=True)
def _recording(shared_data: Path) -> None:
    if not (shared_data / subject.DATA).is_file():
        pytest.skip(f"no {shared_data / subject.DATA}")


def test_scores_are_those_of_the_recorded_answers() -> None:
    """Counted by hand in the recording."""
    right = {
        ("direct", 0.0, 1): 101, ("examples", 0.0, 1): 68, ("direct", 0.7, 1): 75,
        ("direct", 0.7, 8): 105,
    }  # fmt: skip
    for choice, count in right.items():
        scores = subject.recording().right(subject.SMALL, subject.Choice(*choice).calls)
        assert len(scores) == 160
        assert scores.sum() == count


def test_a_search_on_the_table_keeps_to_its_calls_and_counts_shared_samples_once() -> None:
    scores = np.array([subject.recording().right(subject.SMALL, c.calls) for c in subject.CHOICES])
    chosen, calls = subject.search(STRATEGIES["default"], scores[:, :80], 480, seed=0)
    assert 400 < calls <= 480
    assert subject.CHOICES[chosen].prompt == "direct"
    _, calls = subject.search(STRATEGIES["exhaustive"], scores[:, :80], 10**6, seed=0)
    assert calls == 80 * 18, "two greedy answers and twice eight samples"


def test_the_predicted_curve_is_close_to_the_measured_one() -> None:
    curves = subject.vote_curves()
    gap = (curves["direct, predicted"] - curves["direct, measured"]).abs()
    assert gap.max() < 0.03
    assert curves["direct, predicted"].is_monotonic_increasing
