"""The search itself, on simulated models: what it finds, what it pays, and what it drops."""

from __future__ import annotations

from typing import Any

import pytest

from evaluators.diagnoser import Diagnoser, Diagnosis
from optimizer.allocation import Allocation, already_paid, rescuers
from optimizer.door import Plan, prepare
from optimizer.loop import make_study, search
from optimizer.module_scores import ModuleScores
from optimizer.single_models import race_single_models
from optimizer.study import Study
from pipelines import ModuleStep
from pipelines.aggregators.calls import calls_per_run
from pipelines.llms.gateway import Gateway
from pipelines.llms.simulated import simulated_dataset
from pipelines.patterns import locate_solve, majority_vote

MODELS = ["sim/elm", "sim/alder", "sim/birch", "sim/larch"]


def planned(diagnoser: str | None = "auto", examples: int = 40) -> Plan:
    rows = simulated_dataset("locate_solve", examples, 1)
    return prepare(
        locate_solve(), rows, MODELS, "exact_match", None, None, ("allocation",), diagnoser, 0.0, 0
    )  # fmt: skip


def searched(plan: Plan, concurrency: int = 8) -> Study:
    study = make_study(plan, Gateway(None).session("study"), concurrency)
    search(study, plan)
    return study


@pytest.mark.parametrize("diagnoser", ["auto", None])
def test_finds_the_mix_that_no_single_model_is(diagnoser: str | None) -> None:
    study = searched(planned(diagnoser))
    best = {"locate": ("sim/alder",), "solve": ("sim/birch",)}
    everything = [study.baseline.with_models(each) for each in study.space.allocations()]
    means = {c.key: study.evaluator.evaluate(c, study.examples).mean for c in everything}
    assert means[study.incumbent.key] >= max(means.values()) - 0.01
    assert study.incumbent.allocation == best


def test_takes_the_same_path_at_another_concurrency() -> None:
    one, other = (searched(planned(), concurrency) for concurrency in (2, 16))
    assert [t.config.key for t in one.trials] == [t.config.key for t in other.trials]
    assert one.evaluator.session.nominal == other.evaluator.session.nominal


def test_the_best_single_model_is_raced_until_shown_to_be_worse() -> None:
    study = searched(planned())
    assert study.single_model in study.singles.values()
    for config in study.singles.values():
        seen = study.evaluator.known(config)
        found = study.evaluator.known(study.incumbent)
        wins = sum(found.scores[i] - s for i, s in seen.scores.items() if i in found.scores)
        assert wins >= 4 or len(seen.outcomes) == len(study.examples)


def test_only_trials_on_all_search_examples_are_complete() -> None:
    study = searched(planned())
    statuses = {(t.status, t.examples == len(study.examples)) for t in study.trials}
    assert statuses == {("complete", True), ("stopped_early", False), ("promoted", False)}


def test_rescues_are_tried_on_what_the_incumbent_fails_and_count_for_nothing_else() -> None:
    plan = planned(None)
    study = make_study(plan, Gateway(None).session("study"), 8)
    study.race("baseline", [study.baseline])
    good = study.baseline.with_models({"locate": "sim/alder", "solve": "sim/birch"})
    assert rescuers(study, [good, study.baseline]) == [good]
    assert not study.evaluator.known(good).outcomes


def test_the_diagnosers_own_model_is_neither_dropped_nor_the_measure() -> None:
    scores = ModuleScores("solve", ["own", "a", "b", "c"], judge="own")
    for index in range(8):
        for label, rating in {"own": 1.0, "a": 0.7 + index % 2 / 5, "b": 0.8, "c": 0.1}.items():
            scores.note(label, index, _step(), rating)
    scores.drop(3)
    assert scores.promising[0] != "own"
    assert set(scores.promising) == {"own", "a", "b"}


class Inverted(Diagnoser):
    """Prefers what the other rejects."""

    def diagnose(self, *given: Any, **named: Any) -> Diagnosis | None:
        found = super().diagnose(*given, **named)
        return found and Diagnosis(tuple(1 - rating for rating in found.ratings), found.reason)


def test_a_diagnoser_that_is_always_wrong_is_not_believed_and_does_no_harm() -> None:
    plan = planned()
    study = make_study(plan, Gateway(None).session("study"), 8)
    study.race("baseline", [study.baseline])
    race_single_models(study)
    model = plan.models["sim/elm"]
    study.diagnoser = Inverted(model, plan.pipeline, study.evaluator.session)
    Allocation().improve(study)
    agreement = study.judgements.agreement
    assert agreement["solve"].discordant > agreement["solve"].concordant
    assert all(found.may_drop(len(MODELS)) == 0 for found in agreement.values())
    assert study.incumbent.allocation == {"locate": ("sim/alder",), "solve": ("sim/birch",)}


def test_every_vote_of_solvers_that_have_answered_is_scored_without_a_call() -> None:
    rows = simulated_dataset("arithmetic", 40, 1)
    plan = prepare(
        majority_vote(), rows, MODELS, "exact_match", None, None, ("allocation",), None, 0.0, 0
    )
    study = make_study(plan, Gateway(None).session("study"), 8)
    solvers = list(study.space.models)
    for label in MODELS:
        single = study.baseline.with_models(dict.fromkeys(solvers, label))
        study.evaluator.evaluate(single, study.examples)
    paid = study.evaluator.session.nominal.calls
    size = len(study.examples)
    free = already_paid(study, study.space.models, size)
    assert study.evaluator.session.nominal.calls == paid
    every = [study.baseline.with_models(each) for each in study.space.allocations()]
    means = {c.key: study.evaluator.evaluate(c, study.examples).mean for c in every}
    assert study.evaluator.session.nominal.calls == paid
    assert means[free[0].key] == max(means.values())
    assert 1 < len(free) < len(every) == len(MODELS) ** len(solvers)
    assert already_paid(study, study.space.models, size) == free


def test_what_has_an_answer_to_pay_for_is_not_scored_for_free() -> None:
    study = make_study(planned(None), Gateway(None).session("study"), 8)
    study.race("baseline", [study.baseline])
    assert already_paid(study, study.space.models, 8) == [study.baseline]
    assert study.evaluator.session.nominal.calls == calls_per_run(study.baseline) * len(
        study.examples
    )


def _step() -> ModuleStep:
    return ModuleStep("solve", {"task": "1 + 1"}, {"answer": "2"}, (), 0.0)
