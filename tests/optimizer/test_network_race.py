"""Races over networks that share members: what was paid, what can't be, and who is down."""

from __future__ import annotations

import itertools

import pytest

from optimizer.network_race import race_networks
from optimizer.study import Study
from pipelines.aggregators.notation import parse_network
from pipelines.llms.budget import Budget
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.gateway import Gateway
from pipelines.llms.loopback import Behaviour, LoopbackRequest
from search_spaces import PipelineConfig, SearchSpace
from tests.optimizer.runs import counting_server, served_model
from tests.optimizer.studies import begun, calls, with_solve

MODELS = ("sim/hazel", "sim/rowan", "sim/fir")
SPACE = SearchSpace(temperature=(1.0,))


def networks(study: Study, labels: tuple[str, ...] = MODELS) -> list[PipelineConfig]:
    """Every model alone, and votes and cascades of all of them."""
    texts = [*labels]
    for order in itertools.permutations(labels):
        texts += [f"{' + '.join(order)} -> {name}" for name in ("majority_vote", "cascade")]
    made = [study.baseline.modules["solve"].with_network(parse_network(text)) for text in texts]
    return [PipelineConfig(modules={"solve": one}) for one in made]


def test_what_was_paid_before_needs_no_call_and_hides_nothing() -> None:
    study = begun(MODELS, SPACE, examples=120)
    study.race("singles", [with_solve(study, models=(label,)) for label in MODELS], first=120)
    before = calls(study)
    race_networks(study, "structure", networks(study))
    assert calls(study) == before
    complete = [t for t in study.trials if t.stage == "structure" and t.status == "complete"]
    best = max(t.score.mean for t in complete if t.score)
    assert study.evaluator.known(study.incumbent).mean >= best - study.objective.tolerance


def test_one_model_that_was_paid_before_leaves_a_share_for_the_others() -> None:
    study = begun(MODELS[:2], SPACE, examples=120)
    before = calls(study)
    race_networks(study, "structure", networks(study, MODELS[:2]))
    assert calls(study) - before >= 0.25 * 120


def test_where_the_budget_ends_what_was_found_by_then_is_taken() -> None:
    study = begun(("sim/larch", "sim/fir", "sim/birch"), SPACE, examples=300)
    study.evaluator.session.budget = Budget(calls=300 + 2 * 50 + 30)
    with pytest.raises(BudgetExhausted):
        race_networks(study, "structure", networks(study, ("sim/larch", "sim/fir", "sim/birch")))
    assert study.incumbent != study.baseline
    raced = [t for t in study.trials if t.stage == "structure" and t.config != study.baseline]
    assert {trial.status for trial in raced if trial.examples == 50} >= {"cut_off"}
    assert calls(study) <= 300 + 2 * 50 + 30


def test_a_model_that_is_down_leaves_the_race_to_the_others() -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error() if request.model == "rowan" else Behaviour()

    with counting_server(script) as server:
        models = [served_model(server.url, name) for name in ("alder", "birch", "rowan")]
        gateway = Gateway(None, retries=0)
        study = begun(models, SPACE, examples=30, gateway=gateway)
        race_networks(study, "structure", networks(study, tuple(m.label for m in models)))
    down = models[-1].label
    for trial in study.trials:
        solve = trial.config.modules["solve"]
        if solve.aggregator != "cascade":  # which may hardly ever ask it
            assert (trial.status == "disqualified") == (down in solve.models)
