"""Races over networks that share members: what was paid, what can't be, and who is down."""

from __future__ import annotations

import itertools

import pytest

from optimizer.search.state import SearchState
from optimizer.stages.structure.network_race import race_networks
from pipelines.aggregators.notation import parse_network
from pipelines.llms.budget import Budget
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.gateway import Gateway
from pipelines.llms.loopback import Behaviour, LoopbackRequest
from search_spaces import PipelineConfig, SearchSpace
from tests.optimizer.runs import counting_server, served_model
from tests.optimizer.searches import begun, calls, with_solve

MODELS = ("sim/hazel", "sim/rowan", "sim/fir")
SPACE = SearchSpace(temperature=(1.0,))


def networks(state: SearchState, labels: tuple[str, ...] = MODELS) -> list[PipelineConfig]:
    """Every model alone, and votes and cascades of all of them."""
    texts = [*labels]
    for order in itertools.permutations(labels):
        texts += [f"{' + '.join(order)} -> {name}" for name in ("majority_vote", "cascade")]
    made = [state.baseline.modules["solve"].with_network(parse_network(text)) for text in texts]
    return [PipelineConfig(modules={"solve": one}) for one in made]


def test_what_was_paid_before_needs_no_call_and_hides_nothing() -> None:
    state = begun(MODELS, SPACE, examples=120)
    state.race("singles", [with_solve(state, models=(label,)) for label in MODELS], first=120)
    before = calls(state)
    race_networks(state, "structure", networks(state))
    assert calls(state) == before
    complete = [t for t in state.trials if t.stage == "structure" and t.status == "complete"]
    best = max(t.score.mean for t in complete if t.score)
    assert state.evaluator.known(state.incumbent).mean >= best - state.objective.tolerance


def test_one_model_that_was_paid_before_leaves_a_share_for_the_others() -> None:
    state = begun(MODELS[:2], SPACE, examples=120)
    before = calls(state)
    race_networks(state, "structure", networks(state, MODELS[:2]))
    assert calls(state) - before >= 0.25 * 120


def test_where_the_budget_ends_what_was_found_by_then_is_taken() -> None:
    state = begun(("sim/larch", "sim/fir", "sim/birch"), SPACE, examples=300)
    state.evaluator.session.budget = Budget(calls=300 + 2 * 50 + 30)
    with pytest.raises(BudgetExhausted):
        race_networks(state, "structure", networks(state, ("sim/larch", "sim/fir", "sim/birch")))
    assert state.incumbent != state.baseline
    raced = [t for t in state.trials if t.stage == "structure" and t.config != state.baseline]
    assert {trial.status for trial in raced if trial.examples == 50} >= {"cut_off"}
    assert calls(state) <= 300 + 2 * 50 + 30


def test_a_model_that_is_down_leaves_the_race_to_the_others() -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error() if request.model == "rowan" else Behaviour()

    with counting_server(script) as server:
        models = [served_model(server.url, name) for name in ("alder", "birch", "rowan")]
        gateway = Gateway(None, retries=0)
        state = begun(models, SPACE, examples=30, gateway=gateway)
        race_networks(state, "structure", networks(state, tuple(m.label for m in models)))
    down = models[-1].label
    for trial in state.trials:
        solve = trial.config.modules["solve"]
        if solve.aggregator != "cascade":  # which may hardly ever ask it
            assert (trial.status == "disqualified") == (down in solve.models)
