"""What structures a module may be given: all of them fit, and lie in the space."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from optimizer.setup.space_checks import resolve
from optimizer.stages.structure.knobs import Knobs
from pipelines import Module, Pipeline
from pipelines.spec.config_checks import check_config
from search_spaces import ModuleConfig, PipelineConfig, SearchSpace

LABELS = ("a", "b", "c")
FULLY_TOLD = ("majority_vote", "judge(a, answer=pick)", "verifier(b, fallback=first)",
              "confident_vote(threshold=0.6)")  # fmt: skip
"""Aggregators that leave no parameter open."""


def trimmed(found: str, most: int = 3, words: Any = ()) -> str:
    return " ".join(word for word in found.split() if word not in words)[:most]


PIPELINE = Pipeline(
    "three",
    [
        Module("locate", "table, question -> found", temperature=0.7),
        Module("trim", "found -> task", function=trimmed),
        Module("solve", "task -> answer", temperature=0.0),
    ],
)
BASE = PIPELINE.default_config("a")


def choices_of(*values: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=3, unique=True).map(tuple)


SPACES = st.builds(
    SearchSpace,
    models=st.fixed_dictionaries({}, optional={"solve": choices_of(*LABELS).filter(bool)}),
    temperature=st.none() | choices_of(None, 0.0, 0.5, 1.0),
    width=st.none() | choices_of(1, 2, 3, 7) | st.just({"solve": (1, 3)}),
    aggregator=choices_of(*FULLY_TOLD),
    reasoning_effort=st.none() | st.just(("low", None)),
    reply_format=st.none() | st.just({"solve": ("json",)}),
    params=st.sampled_from(
        [{}, {"trim": {"most": (1, 2, 5)}}, {"trim": {"most": (2,), "words": (("x",), ("y", "z"))}}]
    ),
)


def knobs_for(space: SearchSpace, with_models: bool = True, base: PipelineConfig = BASE) -> Knobs:
    functions = [module.name for module in PIPELINE.modules if not module.is_llm]
    asking = [module.name for module in PIPELINE.llm_modules]
    fitted = resolve(space).fit(asking, LABELS, functions)
    return Knobs(PIPELINE, fitted, base, with_models, lambda: "c")


def suggestions(
    knobs: Knobs, seed: int, trials: int = 12, base: PipelineConfig = BASE
) -> list[PipelineConfig]:
    sampler = optuna.samplers.RandomSampler(seed=seed)
    state = optuna.create_study(sampler=sampler)
    drawn = [knobs.suggest(state.ask(), base) for _ in range(trials)]
    return [config for config in drawn if config is not None]


def allowed(knobs: Knobs, name: str, config: ModuleConfig) -> bool:
    """Whether every knob has a value of the space, or the baseline's."""
    own, space = knobs.baseline.modules[name], knobs.space
    aggregation = config.aggregation
    return (
        set(config.models) <= {*own.models, *space.of("models", name)}
        and config.temperature in (own.temperature, *space.of("temperature", name))
        and config.width in (space.of("width", name) or (1,))
        and (aggregation is None) == (config.width == 1)
        and (aggregation is None or aggregation in knobs.aggregations(name).values())
        and not (config.temperature == 0 and config.width > 1)
        and config.reply_format in ("chat", *space.of("reply_format", name))
        and config.params.get("reasoning_effort") in (None, *space.of("reasoning_effort", name))
    )


@settings(max_examples=40)
@given(SPACES, st.booleans(), st.integers(0, 5))
def test_every_suggestion_fits_and_lies_in_the_space(
    space: SearchSpace, with_models: bool, seed: int
) -> None:
    knobs = knobs_for(space, with_models)
    for config in suggestions(knobs, seed):
        check_config(PIPELINE.modules, config, LABELS)
        for name in ("locate", "solve"):
            assert allowed(knobs, name, config.modules[name])
            assert config.modules[name].width <= 7
            assert with_models or config.modules[name].models == ("a",)
        for param, value in config.modules["trim"].params.items():
            choices: Any = space.params["trim"][param]
            assert value in choices


@settings(max_examples=25)
@given(SPACES, st.booleans(), st.integers(0, 5))
def test_every_config_is_each_once_fits_and_holds_all_suggestions(
    space: SearchSpace, with_models: bool, seed: int
) -> None:
    knobs = knobs_for(space, with_models)
    most = math.prod(len(knobs.options(*each)) for each in BASE.modules.items())
    if most > 1500:
        return
    every = list(knobs.every_config(BASE))
    keys = [config.key for config in every]
    assert len(set(keys)) == len(keys) <= most
    for config in every[:: max(1, len(every) // 20)]:
        check_config(PIPELINE.modules, config, LABELS)
        assert allowed(knobs, "solve", config.modules["solve"])
    assert {config.key for config in suggestions(knobs, seed, 6)} <= set(keys)


def test_the_space_as_given_is_counted_and_listed() -> None:
    space = SearchSpace(
        models={"locate": ("a",), "solve": ("a", "b")},
        temperature=(0.0, 1.0),
        width=(1, 3),
        aggregator=("majority_vote", "judge(a, answer=pick)"),
        params={"trim": {"most": (1, 2, 3)}},
    )
    knobs = knobs_for(space)
    # at temperature 0 there is one of each; else alone, voting or judged; 0.7 is locate's own
    locate, solve = 2 * 3 + 1, 2 * (3 + 1)
    size = locate * 3 * solve
    every = knobs.listed(BASE, size)
    assert len(every) == size
    assert BASE.with_knobs("trim", params={"most": 3}) in every
    assert len(knobs.listed(BASE, size - 1)) == locate + 3 + solve


@pytest.mark.parametrize(
    ("distribution", "kind", "low", "high"),
    [
        (IntDistribution(2, 8, step=3), int, 2, 8),
        (FloatDistribution(0.5, 4.0), float, 0.5, 4.0),
        (CategoricalDistribution((1, 2)), int, 1, 2),
    ],
)
def test_parameters_are_drawn_from_optunas_distributions(
    distribution: Any, kind: type, low: float, high: float
) -> None:
    knobs = knobs_for(
        SearchSpace(temperature=(), width=(1,), params={"trim": {"most": distribution}})
    )
    assert knobs.listed(BASE, 10_000) == []
    drawn: list[Any] = [c.modules["trim"].params["most"] for c in suggestions(knobs, 0, 30)]
    assert {type(value) for value in drawn} == {kind}
    assert low <= min(drawn) < max(drawn) <= high
    assert all((value - low) % 3 == 0 for value in drawn if high == 8)


def test_parameters_that_are_not_searched_stay() -> None:
    base = BASE.with_knobs("trim", params={"most": 9, "words": ["x"]})
    knobs = knobs_for(SearchSpace(params={"trim": {"most": (1, 2)}}), base=base)
    for config in suggestions(knobs, 1, base=base):
        assert config.modules["trim"].params["words"] == ["x"]
        assert config.modules["trim"].params["most"] in (1, 2)


def test_formats_of_replies_are_compared() -> None:
    space = SearchSpace(reply_format={"solve": ("chat", "json")}, temperature=(), width=(1,))
    options = knobs_for(space, with_models=False).options("solve", BASE.modules["solve"])
    assert [each.reply_format for each in options] == ["chat", "json"]


def test_an_effort_that_was_given_stays_among_the_choices() -> None:
    base = BASE.with_knobs("solve", params={"reasoning_effort": "high"})
    knobs = knobs_for(SearchSpace(reasoning_effort=("low",)), base=base)
    drawn = {
        c.modules["solve"].params.get("reasoning_effort") for c in suggestions(knobs, 0, 40, base)
    }
    assert drawn == {"low", "high"}


def test_where_models_stay_mixed_members_leave_the_most_frequent() -> None:
    base = BASE.with_knobs("locate", models=("b", "a", "b"), width=3, aggregator="majority_vote")
    knobs = knobs_for(SearchSpace(width=(1, 3)), with_models=False, base=base)
    drawn = {config.modules["locate"].models for config in suggestions(knobs, 0, base=base)}
    assert drawn == {("b",)}


def mixing(space: SearchSpace, with_models: bool = False) -> Knobs:
    return replace(knobs_for(space, with_models), partners={"locate": ("b", "c")})


def locating(configs: Iterable[PipelineConfig]) -> set[tuple[str, ...]]:
    return {config.modules["locate"].labels for config in configs}


def test_other_models_are_mixed_in_after_the_modules_own() -> None:
    space = SearchSpace(width=(3,), temperature=(1.0,), aggregator=("majority_vote",))
    drawn = locating(suggestions(mixing(space), 0, 40))
    assert drawn == {("a", "a", "a"), ("a", "a", "b"), ("a", "a", "c")}


@pytest.mark.parametrize("kind", ["majority_vote", "cascade"])
@pytest.mark.parametrize("distinct", [True, {"locate": True}])
def test_where_models_must_be_distinct_the_best_others_are_mixed_in(
    kind: str, distinct: Any
) -> None:
    space = SearchSpace(
        width={"locate": (2, 3, 4), "solve": (1,)}, temperature=(1.0,), aggregator=(kind,),
        distinct_models=distinct,
    )  # fmt: skip
    expected: set[tuple[str, ...]] = {("a", "b", "c")}  # a vote of two takes the first
    if kind == "cascade":
        expected = {("b", "a"), ("b", "c", "a")}
    assert locating(suggestions(mixing(space), 0, 60)) == expected
    assert locating(mixing(space).every_config(BASE)) == expected


def test_a_cascade_asks_another_model_first() -> None:
    """Of members that are all alike it can make nothing."""
    space = SearchSpace(
        width=(3,), temperature=(0.7,), aggregator=("cascade",), models={"solve": ("a",)}
    )
    found = {("b", "b", "a"), ("c", "c", "a")}
    narrow = space.model_copy(update={"width": {"locate": (3,), "solve": (1,)}})
    assert locating(suggestions(mixing(narrow), 0, 40)) == found
    assert locating(mixing(narrow).every_config(BASE)) == found
    assert suggestions(knobs_for(narrow, with_models=False), 0) == []


def test_knobs_that_a_model_does_not_have_are_left_alone() -> None:
    space = SearchSpace(width=(1, 3), temperature=(0.3, 1.0), reasoning_effort=("low",),
                        aggregator=("majority_vote",))  # fmt: skip
    plain = replace(knobs_for(space), takes=lambda label, knob, value: label == "b")
    drawn = suggestions(plain, 0, 80)
    by_label: dict[str, set[tuple[Any, ...]]] = {}
    for config in [*drawn, *plain.every_config(BASE)]:
        solve = config.modules["solve"]
        knobs = (solve.temperature, solve.params.get("reasoning_effort"))
        by_label.setdefault(solve.labels[0], set()).add(knobs)
    assert by_label["a"] == by_label["c"] == {(None, None)}, "and not 0, at which width is idle"
    assert by_label["b"] == {(t, e) for t in (0.0, 0.3, 1.0) for e in (None, "low")}
    widths = {(c.modules["solve"].labels[0], c.modules["solve"].width) for c in drawn}
    assert {("a", 3), ("c", 3)} <= widths


def test_who_names_no_judge_gets_the_ablest() -> None:
    knobs = knobs_for(SearchSpace(aggregator=("judge", "judge(b)", "majority_vote")))
    found = knobs.aggregations("solve")
    assert list(found) == ["judge", "judge(b)", "majority_vote"]
    asked = [{r: m.models for r, m in config.modules.items()} for config in found.values()]
    assert asked == [{"judge": ("c",)}, {"judge": ("b",)}, {}]


def test_parameters_worth_trying_are_drawn_unless_they_are_given() -> None:
    space = SearchSpace(
        width=(3,),
        temperature=(1.0,),
        aggregator=("confident_vote", "confident_vote(threshold=0.9)"),
    )
    drawn = [c.modules["locate"].aggregation for c in suggestions(knobs_for(space), 0, 60)]
    thresholds = {a.params["threshold"] for a in drawn if a is not None}
    assert 0.9 in thresholds
    assert len(thresholds) > 2


@pytest.mark.parametrize(
    ("widths", "tried"),
    [((1, 3, 5, 9), {1, 3, 5}), ((1, 9, 15), {1, 9}), ((7, 9), {7}), ((1,), {1})],
)
def test_the_widths_that_are_tried_unasked(widths: tuple[int, ...], tried: set[int]) -> None:
    """Wider ones are left to the closed forms, which need votes to begin with."""
    space = SearchSpace(width=widths, temperature=(1.0,), aggregator=("majority_vote",))
    drawn = suggestions(knobs_for(space), 0, 40)
    assert {config.modules["locate"].width for config in drawn} == tried


def test_without_an_aggregator_nothing_is_asked_more_than_once() -> None:
    knobs = knobs_for(SearchSpace(aggregator=(), width=(1, 3)))
    drawn = suggestions(knobs, 0)
    assert drawn
    assert {module.width for config in drawn for module in config.modules.values()} == {1}
    assert suggestions(knobs_for(SearchSpace(aggregator=(), width=(3,))), 0) == []


def test_what_makes_no_sense_together_is_no_suggestion() -> None:
    weighted = SearchSpace(
        width=(3,), temperature=(1.0,), aggregator=("majority_vote(weights=[1, 2])",)
    )
    knobs = knobs_for(weighted)
    assert suggestions(knobs, 0) == []
    assert list(knobs.every_config(BASE)) == []
    assert not knobs.makes_sense(BASE.with_knobs("solve", models=("a", "b")))
