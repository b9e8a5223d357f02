"""Whatever a server does wrong, caps hold, and no reply ends a search.

`make attacks` tries two hundred budgets, which takes some minutes; the ordinary suite tries some.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.loopback import Behaviour, Fault, Hostile, LoopbackRequest
from benchmarks.loopback.faults import FAULTS, PASSING, THROUGH_LITELLM
from pipelines.gateway.budget import Budget
from tests.attacks.budgets import AMPLE, ROWS, Attacked, attack, random_budget
from tests.optimizer.runs import NAMES, counting_server, outcome, served_models, tune

BUDGETS = 200 if os.environ.get("ATTACKS") == "all" else 24
HANGING = {"no answer": Fault("transient", Behaviour.hang())}


@pytest.fixture(scope="module")
def unharmed() -> str:
    """What a search ends in on a server that does nothing wrong."""
    return outcome_of(attack(Budget(), Hostile(0, share=0)))


def outcome_of(attacked: Attacked) -> str:
    assert attacked.result is not None, attacked.refusal
    return outcome(attacked.result)


@pytest.mark.parametrize("seed", range(BUDGETS))
def test_caps_hold_and_no_reply_ends_a_search(seed: int) -> None:
    assert list(attack(random_budget(seed), Hostile(seed)).broken_promises()) == []


def test_nor_does_one_through_litellm() -> None:
    attacked = attack(AMPLE, Hostile(0, faults=THROUGH_LITELLM), provider="together_ai")
    assert len(attacked.shown) > 10
    assert list(attacked.broken_promises()) == []


def test_nor_does_one_that_never_comes() -> None:
    """Fewer requests may be seen than are charged: those that were given up unread."""
    hanging = Hostile(0, 0.05, HANGING)
    attacked = attack(AMPLE, hanging, settings={"timeout_s": 1.5})
    assert attacked.shown["no answer"] > 0
    assert attacked.server_calls <= attacked.calls <= 240
    assert attacked.server_usd <= attacked.usd


def test_odd_replies_and_failures_can_be_logged_and_reported(
    default_store: str, tmp_path: Path
) -> None:
    odd = {name: each for name, each in FAULTS.items() if "odd text" in name}
    attacked = attack(AMPLE, Hostile(1, 0.3, odd), tracked=True)
    assert set(attacked.shown) == set(odd)
    assert attacked.result is not None, attacked.refusal
    assert attacked.result.run_id is not None
    attacked.result.report(tmp_path / "report.html")
    attacked.result.save(tmp_path / "tuned.yaml")
    assert list(attacked.broken_promises()) == []


@pytest.mark.parametrize("seed", range(3))
def test_what_passes_leaves_no_trace_in_the_result(seed: int, unharmed: str) -> None:
    attacked = attack(Budget(), Hostile(seed, 0.4, PASSING))
    assert len(attacked.shown) > 20
    assert outcome_of(attacked) == unharmed
    assert list(attacked.broken_promises()) == []


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_counted_and_charged_as_the_server_does(name: str) -> None:
    """One in each search, whatever the draws of the others show."""
    attacked = attack(Budget(calls=60, usd=0.2), Hostile(2, 0.1, {name: FAULTS[name]}))
    assert attacked.shown[name] > 0
    assert list(attacked.broken_promises()) == []


def test_one_failed_example_of_a_few_ends_nothing() -> None:
    """It is more than a tenth of them, from which on a config is disqualified."""

    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour(400) if request.index == len(NAMES) else Behaviour()  # after the checks

    with counting_server(script) as server:
        result = tune(ROWS[:8], served_models(server), budget=AMPLE)
        assert sum(result.trials["unscored"] > 0) > 0
        assert result.held_out
