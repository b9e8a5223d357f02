"""Which members to go on with in a race over networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.searching import Bench
from evaluators.objective import Costs, Objective
from optimizer.search.state import SearchState
from optimizer.stages.structure.lookahead import Floats, Race, Wanted, worth_going_on
from optimizer.stages.structure.network_race import race_networks
from pipelines import Module, Pipeline
from pipelines.llms.gateway import Gateway
from pipelines.llms.simulated import simulated_dataset
from search_spaces import PipelineConfig, SearchSpace

QUALITY = Wanted(lambda m: m.max(axis=0) - m, lambda m, _: np.asarray(m.argmax(axis=0)))


def race_of(rates: Sequence[float], seen: int, total: int, budget: float) -> Race:
    """Networks of one member each, right at these rates."""
    rng = np.random.default_rng(0)
    scores: Floats = (rng.random((len(rates), seen)) < np.array(rates)[:, None]).astype(float)
    return Race(scores, np.eye(len(rates), dtype=bool), total, budget)


def test_the_clearly_worse_are_dropped_and_the_best_goes_on() -> None:
    race = race_of([0.9, 0.2, 0.1, 0.3], 100, 1000, 1000)
    assert worth_going_on(race, QUALITY, np.random.default_rng(1)) == [0]


def test_who_may_still_be_the_best_goes_on() -> None:
    race = race_of([0.6, 0.58, 0.59, 0.05], 50, 1000, 10_000)
    assert worth_going_on(race, QUALITY, np.random.default_rng(1)) == [0, 1, 2]


def test_whoever_asks_no_one_else_goes_on_too() -> None:
    """A vote of two members brings along each of them alone."""
    scores = np.array([[1.0, 1, 1, 1, 0], [1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]] * 1)
    members = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
    kept = worth_going_on(
        Race(np.tile(scores, 20), members, 1000, 500), QUALITY, np.random.default_rng(0)
    )
    assert kept == [0, 1, 2]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 12), st.floats(0, 3000))
def test_what_is_kept_is_closed_and_depends_on_the_seed_alone(
    seed: int, asked: int, networks: int, budget: float
) -> None:
    rng = np.random.default_rng(seed)
    members = rng.random((networks, asked)) < 0.5
    members[:, 0] |= ~members.any(axis=1)
    race = Race(rng.random((networks, 40)).round(), members, 400, budget)
    kept = worth_going_on(race, QUALITY, np.random.default_rng(7))
    assert kept
    assert kept == worth_going_on(race, QUALITY, np.random.default_rng(7))
    union = members[kept].any(axis=0)
    assert kept == [n for n in range(networks) if not (members[n] & ~union).any()]


NETWORKS = tuple(
    f"sim/{a} + sim/{b} + sim/{c} -> majority_vote"
    for a, b, c in (
        ("birch", "fir", "larch"), ("birch", "alder", "maple"), ("alder", "elm", "cedar"),
        ("elm", "maple", "willow"), ("fir", "willow", "alder"), ("larch", "elm", "alder"),
        ("cedar", "maple", "alder"), ("willow", "cedar", "elm"), ("fir", "birch", "elm"),
    )
)  # fmt: skip
NAMES = ("birch", "fir", "larch", "alder", "maple", "elm", "cedar", "willow")


def racing(objective: Objective, gateway: Gateway) -> Bench:
    return Bench(
        pipeline=Pipeline("sums", [Module("solve", "question -> answer", temperature=0.0)]),
        rows=simulated_dataset("arithmetic", 200, seed=5),
        models=[f"sim/{name}" for name in NAMES],
        gateway=gateway,
        diagnoser=None,
        stages=("structure",),
        space=SearchSpace(width=(1,), temperature=(), aggregator=(), network=NETWORKS),
        objective=objective,
    )


def configs_of(state: SearchState) -> list[PipelineConfig]:
    networks = state.space.network_choices()["solve"]
    modules = [state.baseline.modules["solve"].with_network(network) for network in networks]
    return [state.baseline, *(PipelineConfig(modules={"solve": module}) for module in modules)]


@pytest.fixture(scope="module")
def gateway() -> Gateway:
    """One for all objectives, whose races ask the same: what counts is nominal spend."""
    return Gateway(cache=None)


@pytest.fixture(scope="module")
def everything(gateway: Gateway) -> dict[str, Costs]:
    """What every config is worth on more examples than most of them are raced on."""
    state = racing(Objective(), gateway).state("all")
    evaluator = state.evaluator
    return {c.key: evaluator.evaluate(c, range(120)).costs for c in configs_of(state)}


@pytest.mark.parametrize("objective", [Objective(), Objective(within=0.05, of="single_model")])
def test_a_race_over_networks_spends_half_and_finds_a_good_one(
    objective: Objective, gateway: Gateway, everything: dict[str, Costs]
) -> None:
    state = racing(objective, gateway).state("race")
    state.race("baseline", [state.baseline])
    before = state.evaluator.session.nominal.calls
    race_networks(state, "structure", configs_of(state))
    assert state.evaluator.session.nominal.calls - before <= 0.5 * len(NAMES) * 200
    best = max(costs.score for costs in everything.values())
    assert everything[state.incumbent.key].score >= best - 0.06
    statuses = {trial.config.key: trial.status for trial in state.trials}
    assert set(statuses) == set(everything)
    assert "stopped_early" in statuses.values()
