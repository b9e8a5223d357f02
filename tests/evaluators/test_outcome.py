"""What each module took, from the steps of runs to the mean of a config."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.outcome import Evaluation, ModuleCost, Outcome, cost_by_module
from pipelines import CallRecord, ModuleStep, Trace


def step(module: str, usd: float, seconds: float) -> ModuleStep:
    call = CallRecord("m", 1, 1, usd, seconds, cached=False, key="0" * 64)
    return ModuleStep(module, {}, {}, (call,), seconds)


def outcome(by_module: dict[str, ModuleCost]) -> Outcome:
    usd = sum(cost.usd for cost in by_module.values())
    steps = tuple(step(module, *cost) for module, cost in by_module.items())
    return Outcome(1.0, usd, 1, 1.0, None, trace=Trace(steps, {}))


def test_a_module_that_a_run_asks_twice_is_one_module() -> None:
    steps = [step("plan", 0.25, 1.0), step("act", 0.5, 2.0), step("plan", 0.125, 4.0)]
    expected = {"plan": ModuleCost(0.375, 5.0), "act": ModuleCost(0.5, 2.0)}
    assert cost_by_module(steps) == expected


@given(st.permutations([0.1, 0.2, 0.3, 1e-9, 7.7]))
def test_the_order_of_steps_changes_no_digit(costs: list[float]) -> None:
    (found,) = cost_by_module(step("plan", usd, usd) for usd in costs).values()
    (other,) = cost_by_module(step("plan", usd, usd) for usd in sorted(costs)).values()
    assert found == other


@given(st.permutations([0.1, 0.2, 0.3, 1e-9, 7.7]))
def test_the_order_in_which_runs_end_changes_no_digit(costs: list[float]) -> None:
    runs = {index: outcome({"plan": ModuleCost(usd, usd)}) for index, usd in enumerate(costs)}
    other = {index: outcome({"plan": ModuleCost(u, u)}) for index, u in enumerate(sorted(costs))}
    assert Evaluation(runs).usd_by_module == Evaluation(other).usd_by_module
    assert Evaluation(runs).seconds_by_module == Evaluation(other).seconds_by_module


def test_a_module_that_was_not_reached_took_nothing() -> None:
    both = {"locate": ModuleCost(0.1, 1.0), "solve": ModuleCost(0.4, 3.0)}
    known = Evaluation({0: outcome(both), 1: outcome({"locate": ModuleCost(0.3, 2.0)})})
    assert known.usd_by_module == {"locate": pytest.approx(0.2), "solve": pytest.approx(0.2)}
    assert known.seconds_by_module == {"locate": 1.5, "solve": 1.5}
    assert sum(known.usd_by_module.values()) == pytest.approx(known.usd_per_example)
    assert Evaluation({}).usd_by_module == {}


@given(st.permutations([1.0, 5.0, math.nan, 3.0, math.nan]))
def test_figures_are_those_of_the_runs_with_known_seconds(latencies: list[float]) -> None:
    runs = {
        index: replace(outcome({"plan": ModuleCost(0.1, seconds)}), latency_s=seconds)
        for index, seconds in enumerate(latencies)
    }
    known = Evaluation(runs)
    assert (known.latency_s, known.latency_p95_s) == (3.0, 5.0)
    assert known.seconds_by_module == {"plan": 3.0}
    unknown = known.on([index for index, seconds in enumerate(latencies) if math.isnan(seconds)])
    assert len(unknown.outcomes) == 2
    assert math.isnan(unknown.latency_s)
    assert math.isnan(unknown.latency_p95_s)
    assert unknown.usd_by_module == {"plan": 0.1}


def test_a_module_with_unknown_seconds_has_none_where_others_were_not_reached() -> None:
    reached = {"locate": ModuleCost(0.1, 1.0), "solve": ModuleCost(0.4, math.nan)}
    known = Evaluation({0: outcome(reached), 1: outcome({"locate": ModuleCost(0.3, 2.0)})})
    assert known.seconds_by_module["locate"] == 1.5
    assert math.isnan(known.seconds_by_module["solve"])
