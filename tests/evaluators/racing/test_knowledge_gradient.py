"""Which candidates the coming calls are best spent on."""

from __future__ import annotations

import numpy as np

from evaluators.racing.field import Field
from evaluators.racing.knowledge_gradient import plan
from evaluators.racing.posterior import Floats, Posterior, Variances

NOISE = 0.2


def believed(means: list[float], spreads: list[float]) -> Posterior:
    """Candidates that have nothing to do with each other."""
    variances = Variances(np.zeros(1), correlations=np.zeros(3))
    covariance = np.diag(np.square(spreads))
    return Posterior(np.array(means), covariance, NOISE * np.eye(len(means)), variances)


def field(count: int, examples: int = 200) -> Field:
    return Field.of(np.arange(count)[:, None], [[each] for each in range(count)], examples)


def planned(posterior: Posterior, calls: float, made: Field | None = None) -> set[int]:
    made = made or field(len(posterior.mean))
    return set(plan(posterior, made, calls, np.random.default_rng(0)).candidates.tolist())


def test_the_hopeless_are_not_run() -> None:
    posterior = believed([0.8, 0.78, 0.3], [0.05, 0.05, 0.05])
    assert 2 not in planned(posterior, 300)
    assert 1 in planned(posterior, 300)


def test_what_is_certain_is_not_run() -> None:
    posterior = believed([0.8, 0.79], [1e-6, 0.1])
    assert 1 in planned(posterior, 100)
    nothing = believed([0.8, 0.5], [1e-6, 1e-6])
    assert plan(nothing, field(2), 100, np.random.default_rng(0)).gain < 1e-4


def test_more_calls_reach_more_candidates() -> None:
    posterior = believed([0.6] * 30, [0.1] * 30)
    assert len(planned(posterior, 60)) < len(planned(posterior, 6_000))


def test_what_was_run_on_all_examples_costs_nothing_and_is_not_run_again() -> None:
    posterior, made = believed([0.8, 0.7, 0.7], [0.1, 0.1, 0.1]), field(3, 20)
    for example in range(20):
        made.note((0, example), 1.0)
    assert 0 not in planned(posterior, 40, made)
    for candidate in (1, 2):
        for example in range(20):
            made.note((candidate, example), 1.0)
    assert planned(posterior, 40, made) == set()


def test_the_value_decides_what_counts() -> None:
    """Where the first candidate alone matters, it alone is run."""

    def only_first(means: Floats) -> Floats:
        best: Floats = np.maximum(means[0], 0.5)
        return best

    posterior = believed([0.5, 0.6], [0.1, 0.1])
    chosen = plan(posterior, field(2), 50, np.random.default_rng(0), only_first)
    assert 0 in chosen.candidates
