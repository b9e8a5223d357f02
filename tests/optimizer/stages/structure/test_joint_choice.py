"""Prompt, temperature, width and members are chosen together where the space is small."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import IntDistribution

from optimizer.search.state import SearchState
from optimizer.setup.space_checks import resolve
from optimizer.stages.structure.knobs import Knobs
from optimizer.stages.structure.stage import MOST_LISTED, Structure
from pipelines import Module, Pipeline
from search_spaces import ModuleConfig, PipelineConfig, SearchSpace
from tests.optimizer.searches import VOTER, begun

PROMPT = "Solve the task. Check your work."
SPACE = SearchSpace(
    instructions={"solve": (PROMPT,)},
    temperature=(0.0, 1.0),
    width=(1, 2, 3),
    aggregator=("majority_vote",),
    network={"solve": (f"2x {VOTER} -> majority_vote",)},
)


@pytest.fixture(scope="module")
def searched() -> SearchState:
    state = begun([VOTER], SPACE, examples=24)
    Structure().improve(state)
    return state


def raced(state: SearchState) -> list[ModuleConfig]:
    return [trial.config.modules["solve"] for trial in state.trials if trial.stage == "structure"]


def test_every_combination_meets_in_one_race(searched: SearchState) -> None:
    every = {(m.instructions, m.temperature, m.width) for m in raced(searched)}
    for prompt in (None, PROMPT):
        assert {(prompt, 0.0, 1), (prompt, 1.0, 3)} <= every
    joint = [t for t in searched.trials if t.config.modules["solve"].instructions == PROMPT]
    assert joint[0].base == 0, "no prompt, temperature or width was decided before"
    assert searched.proposer is None, "Optuna is for spaces too large to list"


def test_a_vote_of_two_is_raced_only_where_it_is_listed(searched: SearchState) -> None:
    votes = [module for module in raced(searched) if module.width == 2]
    assert len({module.model_dump_json() for module in votes}) == 1
    assert votes[0].instructions is None


def test_a_space_that_can_not_be_listed_is_left_to_optuna() -> None:
    pipeline = Pipeline(
        "cut",
        [
            Module("solve", "question -> answer", temperature=1.0),
            Module("cut", "answer -> answer2", function=cut),
        ],
    )
    base = pipeline.default_config(VOTER)
    spaces = {
        "listed": {"cut": {"most": (1, 2)}},
        "drawn": {"cut": {"most": IntDistribution(1, 9)}},
    }
    for kind, params in spaces.items():
        fitted = SPACE.model_copy(update={"params": params, "network": {}})
        fitted = resolve(fitted.fit(["solve"], [VOTER], ["cut"]))
        knobs = Knobs(pipeline, fitted, base, False, lambda: VOTER)
        assert bool(knobs.listed(base, MOST_LISTED)) == (kind == "listed")


def cut(answer: str, most: int = 9) -> dict[str, str]:
    return {"answer2": answer[:most]}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 3, 5]), min_size=1, unique=True),
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), unique=True),
    st.booleans(),
)
def test_no_listed_config_repeats_a_cheaper_one(
    widths: list[int], temperatures: list[float], distinct: bool
) -> None:
    space = SearchSpace(
        width=tuple(widths), temperature=tuple(temperatures), distinct_models=distinct,
        aggregator=("majority_vote", "confident_vote"),
    )  # fmt: skip
    pipeline = Pipeline("solve", [Module("solve", "question -> answer", temperature=1.0)])
    base = pipeline.default_config("a")
    fitted = space.fit(["solve"], ["a", "b"])
    knobs = Knobs(pipeline, resolve(fitted), base, False, lambda: "a", {"solve": ("b",)})
    for config in knobs.listed(base, MOST_LISTED):
        module = config.modules["solve"]
        assert module.width == 1 or module.temperature != 0
        assert (module.width, module.aggregator) != (2, "majority_vote")
        assert (module.width == 1) == (module.aggregation is None)
    redundant = PipelineConfig(
        modules={"solve": base.modules["solve"].with_knobs(
            temperature=0.0, width=3, aggregator="majority_vote")}
    )  # fmt: skip
    assert not knobs.makes_sense(redundant)
