"""The prompts of judges and verifiers, which are tuned as those of modules are."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.worlds import PHRASES, SimulatedModel, register, simulated_dataset
from optimizer.loop import start_search
from optimizer.results.prompt_changes import prompts_of
from optimizer.search.records.config_changes import config_changes
from optimizer.search.records.trial import flat_config
from optimizer.search.state import SearchState
from optimizer.setup.plan import prepare
from optimizer.stages.prompts import Prompts, stage
from optimizer.stages.prompts.blame import Blame, blamed_modules
from optimizer.stages.resolver import resolve_stages
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import Gateway

ROWS = simulated_dataset("arithmetic", 90, seed=5)
STEADY: dict[str, Any] = {"refusal_rate": 0.0, "malformed_rate": 0.0}
FOOL = register(SimulatedModel("role-fool", {"arithmetic": 0.1}, **STEADY))
SOLVER = register(SimulatedModel("role-solver", {"arithmetic": 0.97}, **STEADY))
CHECKER = register(
    SimulatedModel(
        "role-checker",
        {"arithmetic": 0.97, "verify": 0.4, "write_instructions": 0.97},
        phrase_effects={phrase.text: {"verify": 3.0} for phrase in PHRASES},
        **STEADY,
    )
)
VERIFIED = Pipeline(
    "verified",
    [
        Module(
            "solve",
            "question -> answer",
            model="1x sim/role-fool + 1x sim/role-solver -> verifier(sim/role-checker)",
            temperature=1.0,
        )
    ],
)


def begun() -> SearchState:
    models = ["sim/role-fool", "sim/role-solver", "sim/role-checker"]
    stages = resolve_stages("prompts")
    plan = prepare(VERIFIED, ROWS, models, stages=stages, diagnoser=None, holdout=0.0)
    state = start_search(plan, Gateway(None).session("", None), 8)
    state.race("baseline", [state.baseline])
    return state


def blaming_the_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is tuned, and only once."""
    monkeypatch.setattr(stage, "ATTEMPTS", 1)
    found = [Blame("solve.verifier", share=1.0)]
    monkeypatch.setattr(stage, "blamed_modules", lambda state, examples: found)


@pytest.mark.parametrize("optimizer", ["gepa", "mipro"])
def test_a_verifiers_prompt_is_tuned(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blaming_the_verifier(monkeypatch)
    state = begun()
    Prompts(optimizer).improve(state)
    given, found = state.baseline, state.incumbent
    written = found.part("solve.verifier").instructions
    assert written is not None
    assert any(phrase.text in written.lower() for phrase in PHRASES)
    assert found.modules["solve"].instructions is None
    known = state.evaluator.known
    assert known(found).mean > known(given).mean
    knobs = {change.knob for change in config_changes(given, found)}
    assert (
        "solve.verifier.instructions"
        in knobs
        <= {
            "solve.verifier.instructions",
            "solve.verifier.demos",
        }
    )
    assert prompts_of(VERIFIED, found)["solve.verifier"][0] == written
    assert flat_config(found)["solve.aggregator.verifier.instructions"] == written
    assert {probe.module for probe in state.probes} == {"solve.verifier"}


def test_runs_that_were_right_become_demos_of_a_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    blaming_the_verifier(monkeypatch)
    state = begun()
    Prompts("bootstrap").improve(state)
    demos = [d for trial in state.trials for d in trial.config.part("solve.verifier").demos]
    assert demos
    assert {"question", "candidate", "accepted"} <= set(demos[0])


def test_a_role_is_tuned_after_the_module_that_consults_it() -> None:
    state = begun()
    found = blamed_modules(state, state.examples)
    assert [blame.module for blame in found] == ["solve", "solve.verifier"]
