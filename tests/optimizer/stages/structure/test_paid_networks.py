"""Networks of answers that are there already: all that can be made of them, and no call more."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.worlds import simulated_dataset
from optimizer.search.state import SearchState
from optimizer.stages.structure.paid_networks import AGREEMENTS, paid_networks
from pipelines import Module, Pipeline
from search_spaces import PipelineConfig, SearchSpace
from tests.optimizer.searches import begun, calls, knobs_of, with_solve

MODELS = ("sim/hazel", "sim/rowan", "sim/fir", "sim/larch")
SPACE = SearchSpace(
    width=(1, 3), temperature=(1.0,),
    aggregator=("majority_vote", "confident_vote(threshold=0.6)", "cascade", "judge"),
)  # fmt: skip


def with_singles(models: tuple[str, ...] = MODELS, space: SearchSpace = SPACE) -> SearchState:
    """Every model has answered every example once."""
    state = begun(models, space, examples=24)
    singles = [with_solve(state, models=(label,)) for label in models]
    state.look("singles", singles, 24)
    return state


def found(
    state: SearchState, done: set[str] | None = None, size: int | None = None
) -> list[PipelineConfig]:
    """On all search examples, if not told otherwise."""
    seen = len(state.examples) if size is None else size
    return paid_networks(state, knobs_of(state), "solve", seen, set() if done is None else done)


def members(configs: list[PipelineConfig], name: str) -> list[tuple[str, ...]]:
    return [
        config.modules["solve"].labels
        for config in configs
        if (aggregation := config.modules["solve"].aggregation) and aggregation.name == name
    ]


def test_every_mix_of_models_that_have_answered_is_listed_once() -> None:
    state = with_singles()
    before = calls(state)
    configs = found(state)
    votes = [tuple(sorted(mix)) for mix in members(configs, "majority_vote")]
    assert sorted(votes) == sorted(tuple(sorted(mix)) for mix in itertools.combinations(MODELS, 3))
    assert len({config.key for config in configs}) == len(configs)
    assert all(knobs_of(state).makes_sense(config) for config in configs)
    assert members(configs, "judge") == [], "a judge would have to be asked"
    assert calls(state) == before, "listing them asks nobody"


def test_cascades_end_with_every_model() -> None:
    cascades = [
        config.modules["solve"]
        for config in found(with_singles())
        if config.modules["solve"].aggregation is not None
        and config.modules["solve"].aggregation.name == "cascade"
    ]
    shapes = {
        (c.labels[-1], c.width, c.aggregation.params["agreement"])
        for c in cascades
        if c.aggregation
    }
    assert shapes == {
        *itertools.product(MODELS, [3], [1.0]),
        *itertools.product(MODELS, [4], AGREEMENTS),
    }
    assert all(len(set(c.labels)) == c.width for c in cascades)


def test_they_are_scored_without_a_call_and_the_best_comes_first() -> None:
    state = with_singles()
    configs = found(state)
    before = calls(state)
    ranked = state.enumerate_paid(configs, len(state.examples))
    scores = [state.evaluator.known(config).mean for config in ranked]
    assert calls(state) == before
    assert scores == sorted(scores, reverse=True)
    votes = [c for c in configs if c.modules["solve"].aggregator == "majority_vote"]
    brute = [state.evaluator.evaluate(config, state.examples).mean for config in votes]
    assert calls(state) == before
    assert scores[0] >= max(brute)


def test_one_that_would_need_a_call_does_not_hide_the_others() -> None:
    """A confident vote in doubt asks again at temperature 0, on some examples only."""
    state = with_singles()
    configs = found(state)
    confident = {c.key for c in configs if "confident" in str(c.modules["solve"].aggregator)}
    before = calls(state)
    scored = {config.key for config in state.enumerate_paid(configs, len(state.examples))}
    assert confident
    assert calls(state) == before
    assert scored
    assert scored - confident
    for config in configs:
        if config.key in confident & scored:
            assert state.evaluator.known(config).calls_per_example == 3


def test_what_was_looked_at_is_not_listed_again_until_more_is_paid() -> None:
    state = with_singles(MODELS[:2])
    done: set[str] = set()
    found(state, done)
    assert found(state, done) == []
    wider = with_solve(state, models=(MODELS[1],), width=5, aggregator="majority_vote")
    state.look("wider", [wider], 24)
    new = members(found(state, done), "majority_vote")
    assert set(new) >= {(MODELS[1],) * width for width in (3, 4)}


def test_a_vote_that_stopped_early_is_taken_apart_on_the_examples_that_it_saw() -> None:
    state = begun(MODELS[:1], SPACE, examples=24)
    five = with_solve(state, width=5, aggregator="majority_vote")
    state.look("five", [five], 8)
    assert found(state) == []
    widths = {c.modules["solve"].width for c in state.enumerate_paid(found(state, size=8), 8)}
    assert widths >= {3, 4}
    assert 2 not in widths, "a vote of two takes the first"


def test_what_is_too_much_for_one_time_comes_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    state = with_singles()
    whole = {config.key for config in found(state)}
    monkeypatch.setattr("optimizer.stages.structure.paid_networks.MOST_NETWORKS", 10)
    done: set[str] = set()
    batches = list(iter(lambda: [config.key for config in found(state, done)], []))
    assert {len(batch) for batch in batches[:-1]} == {10}
    assert sorted(itertools.chain.from_iterable(batches)) == sorted(whole)


def test_what_a_cascade_was_given_stays() -> None:
    space = SPACE.model_copy(update={"aggregator": ("cascade(agreement=0.9)",)})
    cascades = [config.modules["solve"].aggregation for config in found(with_singles(space=space))]
    assert {c.params["agreement"] for c in cascades if c} == {0.9}
    assert len(cascades) == len({str(c) for c in found(with_singles(space=space))})


def test_a_cascades_later_members_have_not_answered_for_certain() -> None:
    cheap, strong = "sim/rowan", "sim/fir"
    state = begun([cheap, strong], SPACE, examples=24)
    cascade = with_solve(state, models=(cheap, strong), width=2, aggregator="cascade")
    state.look("cascade", [cascade], 24)
    assert found(state) == []


def test_of_models_seen_on_fewer_examples_networks_are_compared_on_those() -> None:
    state = begun(MODELS[:3], SPACE, examples=24)
    few = [with_solve(state, models=(label,)) for label in MODELS[1:3]]
    state.look("few", few, 8)
    assert found(state) == []
    assert {c.modules["solve"].width for c in found(state, size=8)} == {3}


@pytest.mark.parametrize("module", ["locate", "solve"])
def test_the_other_modules_are_those_of_the_incumbent(module: str) -> None:
    steps = Pipeline(
        "locate-solve",
        [
            Module("locate", "table, question -> task", temperature=1.0),
            Module("solve", "task -> answer", temperature=1.0),
        ],
    )
    rows = simulated_dataset("locate_solve", 8, 1, rows=4)
    state = begun(["sim/alder", "sim/birch", "sim/elm"], SPACE, rows, pipeline=steps)
    mixed = state.baseline.with_models({"locate": "sim/birch"})
    others = [state.baseline.with_models({"solve": label}) for label in ("sim/birch", "sim/elm")]
    state.look("solvers", [mixed, *others], 8)
    configs = paid_networks(state, knobs_of(state), module, 8, set())
    other = "locate" if module == "solve" else "solve"
    assert all(c.modules[other] == state.incumbent.modules[other] for c in configs)
    labels = {label for c in configs for label in c.modules[module].models}
    assert labels == (set() if module == "locate" else {"sim/alder", "sim/birch", "sim/elm"})
    before = calls(state)
    state.enumerate_paid(configs, 8)
    assert calls(state) == before


def of_two_settings(space: SearchSpace = SPACE) -> SearchState:
    """One model at two temperatures, and another with a prompt of its own."""
    state = begun(MODELS[:2], space, examples=16)
    hot = with_solve(state, models=(MODELS[0],), temperature=0.5)
    message = with_solve(state, models=(MODELS[1],), instructions="Work it out step by step.")
    state.look("others", [hot, message], 16)
    state.incumbent = state.baseline
    return state


def test_members_of_other_prompts_and_temperatures_are_mixed_without_a_call() -> None:
    state = of_two_settings()
    before = calls(state)
    configs = found(state)
    asked = {
        frozenset((m.model, m.temperature, m.instructions) for m in solve.resolved_members)
        for solve in (config.modules["solve"] for config in configs)
    }
    cool, hot = (MODELS[0], 1.0, None), (MODELS[0], 0.5, None)
    message = (MODELS[1], 1.0, "Work it out step by step.")
    assert asked == {frozenset({cool, hot, message})}
    kinds = {c.modules["solve"].aggregation.name for c in configs if c.modules["solve"].aggregation}
    assert kinds == {"majority_vote", "confident_vote", "cascade"}
    assert state.enumerate_paid(configs, 16)
    assert calls(state) == before


def test_members_with_other_parameters_are_not_mixed() -> None:
    """A member has no parameters of its own."""
    state = begun(MODELS[:3], SPACE, examples=16)
    efforts = [
        with_solve(state, models=(label,), params={"reasoning_effort": "low"})
        for label in MODELS[1:3]
    ]
    state.look("others", efforts, 16)
    state.incumbent = state.baseline
    assert found(state) == []


def test_where_models_must_be_distinct_no_model_is_twice_in_a_network() -> None:
    wide = [MODELS[1]] * 3
    for space, least in ((SPACE, 2), (SPACE.model_copy(update={"distinct_models": True}), 3)):
        state = with_singles(MODELS[:3], space)
        vote = with_solve(state, members=wide, aggregator="majority_vote")
        hot = with_solve(state, models=(MODELS[0],), temperature=0.5)
        state.look("wide", [vote, hot], 24)
        state.incumbent = state.baseline
        configs = found(state)
        assert configs
        repeated = {len(c.modules["solve"].labels) - len(set(c.modules["solve"].labels))
                    for c in configs}  # fmt: skip
        assert (repeated == {0}) == (least == 3)
