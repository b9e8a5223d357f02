"""Studies at their beginning, on simulated models made for one purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from evaluators.objective import QUALITY, Objective
from optimizer.loop import start_search
from optimizer.search.config_arena import ConfigArena, arena_of
from optimizer.search.state import SearchState
from optimizer.setup.plan import prepare
from optimizer.stages.resolver import resolve_stages
from optimizer.stages.structure.knobs import Knobs
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig, SearchSpace

VOTER, CHECKER, FOOL = "sim/structure-voter", "sim/structure-checker", "sim/structure-fool"
"""Right more often than not; right nearly always, of itself and others; and quite lost."""
SOLVE = Pipeline("solve", [Module("solve", "question -> answer", temperature=1.0)])


def tailored() -> None:
    """Make the three models known; doing so again changes nothing."""
    well_behaved: dict[str, Any] = {"refusal_rate": 0.0, "malformed_rate": 0.0}
    for name, arithmetic, verify in (
        (VOTER, 0.7, 0.5), (CHECKER, 0.97, 0.97), (FOOL, 0.3, 0.0),
    ):  # fmt: skip
        skills = {"arithmetic": arithmetic, "verify": verify}
        register(SimulatedModel(name.removeprefix("sim/"), skills, **well_behaved))


def begun(
    models: Sequence[str | Model],
    space: SearchSpace,
    rows: Sequence[dict[str, str]] | None = None,
    *,
    examples: int = 40,
    pipeline: Pipeline = SOLVE,
    gateway: Gateway | None = None,
    concurrency: int = 8,
    objective: Objective = QUALITY,
    budget: Budget | None = None,
) -> SearchState:
    """A state whose baseline was raced on all examples."""
    tailored()
    rows = rows or simulated_dataset("arithmetic", examples, 1)
    plan = prepare(
        pipeline,
        rows,
        models,
        search_space=space,
        stages=resolve_stages("structure"),
        holdout=0.0,
        objective=objective,
    )
    session = (gateway or Gateway(None, backoff_s=0.001)).session("study", budget)
    state = start_search(plan, session, concurrency)
    state.race("baseline", [state.baseline])
    return state


def against_given(state: SearchState, entrants: Sequence[PipelineConfig]) -> ConfigArena:
    """The arena of a race of these against the config as given."""
    return arena_of(
        state.evaluator, state.forecast, state.examples, entrants, [state.baseline],
        state.baseline, 0,
    )  # fmt: skip


def knobs_of(state: SearchState, judge: str = CHECKER) -> Knobs:
    return Knobs(state.evaluator.pipeline, state.space, state.baseline, False, lambda: judge)


def with_solve(state: SearchState, **knobs: Any) -> PipelineConfig:
    return state.incumbent.with_knobs("solve", **knobs)


def calls(state: SearchState) -> int:
    return state.evaluator.session.nominal.calls
