from __future__ import annotations

import itertools

import pytest

from benchmarks.worlds import (
    MODELS,
    SimulatedModel,
    chain_modules,
    find_model,
    register,
    simulated_dataset,
)
from pipelines.gateway.model import Model
from pipelines.providers import price_of
from pipelines.providers.simulated import UnknownSimulatedModel
from tests.pipelines.providers.simulated.asking import LOCATE, SOLVE, ask

BUILT_IN_SKILLS = ["locate", "arithmetic", *(module["name"] for module in chain_modules(8))]


def locate_solve_table(temperature: float | None) -> dict[tuple[str, str], float]:
    """End-to-end accuracy of every pair of models on locate-solve."""
    rows = simulated_dataset("locate_solve", 300, seed=41)
    located = {
        model.name: [
            ask(
                model,
                LOCATE,
                {"table": row["table"], "question": row["question"]},
                temperature=temperature,
            ).get("task")
            for row in rows
        ]
        for model in MODELS
    }
    solved = {
        (model.name, task): ask(model, SOLVE, {"task": task}, temperature=temperature).get("answer")
        for model in MODELS
        for task in set(itertools.chain.from_iterable(located.values()))
        if task
    }
    return {
        (one.name, two.name): sum(
            solved.get((two.name, task or "")) == row["answer"]
            for task, row in zip(located[one.name], rows, strict=True)
        )
        / len(rows)
        for one in MODELS
        for two in MODELS
    }


@pytest.mark.parametrize("temperature", [0.0, None])
def test_no_single_model_does_locate_solve_but_a_mix_does(temperature: float | None) -> None:
    table = locate_solve_table(temperature)
    assert max(score for (one, two), score in table.items() if one == two) <= 0.35
    assert max(table.values()) >= 0.95
    assert max(table, key=lambda pair: table[pair]) == ("alder", "birch")


@pytest.mark.parametrize("skill", BUILT_IN_SKILLS)
def test_the_best_model_of_each_skill_is_ahead_by_a_margin(skill: str) -> None:
    levels = sorted((model.skill(skill) for model in MODELS), reverse=True)
    assert levels[0] >= 0.97
    assert 0.05 <= levels[0] - levels[1] <= 0.1
    assert max(MODELS, key=lambda m: m.skill("locate") * m.skill("arithmetic")).skill(skill) < 1


def test_many_models_are_best_at_something_the_cheapest_among_them() -> None:
    best = {max(MODELS, key=lambda m: m.skill(skill)).name for skill in BUILT_IN_SKILLS}
    assert len(best) >= 7
    cheapest = min(MODELS, key=lambda model: model.output_usd_per_million)
    assert cheapest.name in best


def test_prices_spread_a_thousandfold_and_say_little() -> None:
    prices = [model.input_usd_per_million for model in MODELS]
    assert max(prices) / min(prices) >= 500
    dearest = max(MODELS, key=lambda model: model.input_usd_per_million)
    assert any(
        model.skill("locate") > dearest.skill("locate")
        and model.input_usd_per_million < dearest.input_usd_per_million
        for model in MODELS
    )


def test_every_model_has_a_price_and_habits_within_reason() -> None:
    assert len(MODELS) == 10
    for model in MODELS:
        assert min(price_of(Model(f"sim/{model.name}"))) > 0
        assert 0.002 <= model.refusal_rate + model.malformed_rate <= 0.015


def test_an_unknown_name_brings_the_nearest_one() -> None:
    with pytest.raises(UnknownSimulatedModel, match="nearest: 'sim/cedar'"):
        find_model("sim/ceder")


def test_models_are_added_by_name_once() -> None:
    mine = SimulatedModel("test-catalogue-own", {"locate": 0.5})
    assert register(mine) is mine
    assert find_model("sim/test-catalogue-own") == mine
    assert register(SimulatedModel("test-catalogue-own", {"locate": 0.5})) == mine
    with pytest.raises(ValueError, match="sim/test-catalogue-own exists already"):
        register(SimulatedModel("test-catalogue-own", {"locate": 0.6}))
