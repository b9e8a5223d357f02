"""The search space: which models a module may use, and what random search draws from it."""

from __future__ import annotations

import json
import traceback
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)

from search_spaces import (
    AggregatorConfig,
    ModuleConfig,
    PipelineConfig,
    SearchSpace,
    SearchSpaceError,
)
from search_spaces.space import Effort

CHOICES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True).map(tuple)
SPACES = st.builds(
    SearchSpace,
    models=st.dictionaries(st.sampled_from(["m1", "m2", "m3"]), CHOICES, min_size=1, max_size=3),
)


def config(space: SearchSpace) -> PipelineConfig:
    return PipelineConfig(modules={name: ModuleConfig(models=("a",)) for name in space.models})


def test_modules_without_choices_of_their_own_get_all_labels() -> None:
    space = SearchSpace(models={"solve": ("b", "a")}).fit(["locate", "solve"], ["a", "b", "c"])
    assert space.models == {"locate": ("a", "b", "c"), "solve": ("b", "a")}
    assert list(space.models) == ["locate", "solve"], "in the order of the modules"
    assert space.size == 6
    assert space.single_models() == ("a", "b")


@pytest.mark.parametrize(
    ("given", "distinct"),
    [(None, (False, False)), (True, (True, True)), ({"solve": True}, (False, True))],
)
def test_distinct_models_are_asked_for_everywhere_or_by_module(
    given: Any, distinct: tuple[bool, bool]
) -> None:
    space = SearchSpace() if given is None else SearchSpace(distinct_models=given)
    fitted = space.fit(["locate", "solve"], ["a", "b"])
    assert (fitted.distinct("locate"), fitted.distinct("solve")) == distinct
    with pytest.raises(SearchSpaceError, match=r"distinct_models: 'slove' is no .*: 'solve'"):
        SearchSpace(distinct_models={"slove": True}).fit(["locate", "solve"], ["a", "b"])


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"solv": ("a",)},
         "search_space, models: 'solv' is no module that asks a model; nearest: 'solve'"),
        ({"solve": ("aa",)},
         "search_space, models of module 'solve': model 'aa' is not among the models given to "
         "optimize: add it to `models`, or correct it; nearest: 'a'"),
        ({"solve": ()}, "search_space gives module 'solve' no model to choose"),
        ({"solve": ("a", "b", "a")}, "search_space gives module 'solve' the model 'a' twice"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(models: dict[str, Any], told: str) -> None:
    with pytest.raises(SearchSpaceError) as raised:
        SearchSpace(models=models).fit(["locate", "solve"], ["a", "b"])
    assert str(raised.value) == told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"widht": (1, 3)},
         "SearchSpace has no 'widht'; nearest: 'width' (it has models, temperature, "
         "reasoning_effort, reply_format, width, aggregator, network, distinct_models, "
             "instructions, params, exportable)"),
        ({"models": ("a", "b")},
         "SearchSpace(models=...): goes by module, such as {'solve': ...}, but got ('a', 'b')"),
        ({"models": {"solve": (5,)}},
         "SearchSpace(models={'solve': ...}) must be a valid string, but got 5"),
        ({"width": (1, 0)},
         "SearchSpace(width=...) must be greater than or equal to 1, but got 0"),
        ({"width": 0}, "SearchSpace(width=...) must be greater than or equal to 1, but got 0"),
        ({"width": {"locate": 1, "solve": (1.5,)}},
         "SearchSpace(width={'solve': ...}) must be a valid integer, but got 1.5"),
        ({"width": IntDistribution(1, 5)},
         "SearchSpace(width=...) must be a valid tuple, but got IntDistribution("
         "high=5, log=False, low=1, step=1)"),
        ({"width": {3}},
         "SearchSpace(width=...): choices have an order: give a list or a tuple, but not {3}"),
        ({"temperature": 2.1},
         "SearchSpace(temperature=...) must be less than or equal to 2, but got 2.1"),
        ({"reasoning_effort": ("low", "hihg")},
         "SearchSpace(reasoning_effort=...) must be 'none', 'minimal', 'low', 'medium', 'high', "
         "'xhigh', 'max' or 'default', but got 'hihg'; nearest: 'high'"),
        ({"aggregator": ({"name": "judge", "parms": 1},)},
         "SearchSpace(aggregator={'parms': ...}): Extra inputs are not permitted, but got 1"),
        ({"network": (5,)}, "SearchSpace(network=...) must be a valid string, but got 5"),
        ({"params": {"most": (1, 3)}},
         "SearchSpace(params={'most': ...}) must be a valid dictionary, but got (1, 3)"),
        ({"params": {"trim": {"most": None}}},
         "SearchSpace(params={'trim': {'most': ...}}) must be a valid tuple, but got None"),
        ({"params": {"trim": {"most": {3}}}},
         "SearchSpace(params={'trim': {'most': ...}}): choices have an order: give a list or a "
         "tuple, but not {3}"),
        ({"distinct_models": {"solve": "yes"}},
         "SearchSpace(distinct_models={'solve': ...}) must be a valid boolean, but got 'yes'"),
        ({"width": 0, "temperature": 3},
         "SearchSpace(temperature=...) must be less than or equal to 2, but got 3; "
         "SearchSpace(width=...) must be greater than or equal to 1, but got 0"),
    ],
)  # fmt: skip
def test_what_is_no_space_is_refused_in_one_line(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SearchSpaceError) as raised:
        SearchSpace(**values)
    assert str(raised.value) == told
    shown = "".join(traceback.format_exception(raised.value))
    assert "pydantic.dev" not in shown, "nor is pydantic's own error shown above it"


@pytest.mark.parametrize(
    ("knob", "value"),
    [("width", 3), ("temperature", 0.5), ("aggregator", "judge"), ("reasoning_effort", "low"),
     ("network", ModuleConfig()), ("aggregator", AggregatorConfig(name="judge"))],
)  # fmt: skip
def test_one_value_alone_is_a_list_of_one(knob: str, value: Any) -> None:
    for one, listed in ((value, (value,)), ({"solve": value}, {"solve": (value,)})):
        arguments: Any = {knob: one}
        assert getattr(SearchSpace(**arguments), knob) == listed
    others: Any = {"models": {"solve": "a"}, "params": {"trim": {"most": "x"}}}
    space = SearchSpace(**others)
    assert (space.models, space.params) == ({"solve": ("a",)}, {"trim": {"most": ("x",)}})


def test_every_effort_that_litellm_knows_is_known() -> None:
    from litellm.types.llms.openai import REASONING_EFFORT

    assert set(get_args(REASONING_EFFORT)) <= set(get_args(Effort))


def test_no_model_may_fit_everywhere() -> None:
    assert SearchSpace(models={"m1": ("a",), "m2": ("b",)}).single_models() == ()


@given(SPACES)
def test_allocations_are_all_there_is_each_once(space: SearchSpace) -> None:
    allocations = [tuple(allocation.items()) for allocation in space.allocations()]
    assert len(allocations) == len(set(allocations)) == space.size
    for allocation in allocations:
        assert all(label in space.models[module] for module, label in allocation)
    for label in space.single_models():
        assert tuple((module, label) for module in space.models) in allocations


MODULES, LABELS = ["locate", "solve"], ["a", "b"]


def test_knobs_that_are_not_given_get_choices_of_their_own() -> None:
    space = SearchSpace().fit(MODULES, LABELS)
    for module in MODULES:
        assert 0.0 in space.of("temperature", module)
        assert 1 in space.of("width", module)
        assert "majority_vote" in space.of("aggregator", module)
        assert space.of("reasoning_effort", module) == space.of("network", module) == ()
    assert space.of("width", "trim") == ()


@pytest.mark.parametrize(
    ("knob", "choices"),
    [
        ("temperature", (0.3, None)),
        ("width", (1, 9)),
        ("aggregator", ("judge(a)",)),
        ("reasoning_effort", ("low", "high")),
        ("network", ("2x a + b -> cascade",)),
    ],
)
def test_choices_hold_for_all_modules_or_for_some(knob: str, choices: tuple[Any, ...]) -> None:
    given: Any = {knob: choices}
    everywhere = SearchSpace(**given).fit(MODULES, LABELS)
    assert [everywhere.of(knob, module) for module in MODULES] == [choices, choices]
    default = SearchSpace().fit(MODULES, LABELS).of(knob, "locate")
    given = {knob: {"solve": choices}}
    only = SearchSpace(**given).fit(MODULES, LABELS)
    assert [only.of(knob, module) for module in MODULES] == [default, choices]
    given = {knob: {"solv": choices}}
    with pytest.raises(SearchSpaceError, match=f"{knob}: 'solv' is no module .*: 'solve'"):
        SearchSpace(**given).fit(MODULES, LABELS)


def test_parameters_are_those_of_function_modules() -> None:
    space = SearchSpace(params={"trim": {"most": (1, 2)}})
    assert space.fit(MODULES, LABELS, ["trim"]).params == {"trim": {"most": (1, 2)}}
    with pytest.raises(SearchSpaceError, match="'trim' is no function module; nearest: 'trin'"):
        space.fit(MODULES, LABELS, ["trin", "other"])
    with pytest.raises(SearchSpaceError, match="'solve' is no function module"):
        SearchSpace(params={"solve": {"most": (1,)}}).fit(MODULES, LABELS, ["trim"])


def test_networks_are_compared_once_they_are_configs() -> None:
    network = ModuleConfig(models=("a", "b"), width=2, aggregator="majority_vote")
    space = SearchSpace(network=(network,)).fit(MODULES, LABELS)
    assert space.network_choices() == {"locate": (network,), "solve": (network,)}
    assert SearchSpace(network=("2x a -> majority_vote",)).fit(
        MODULES, LABELS
    ).network_choices() == ({"locate": (), "solve": ()})


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(1, 9, step=2),
        FloatDistribution(1e-3, 1.0, log=True),
        CategoricalDistribution(("x", "y")),
    ],
)
def test_a_space_with_distributions_is_written_as_json(distribution: Any) -> None:
    space = SearchSpace(params={"trim": {"most": distribution, "words": ("a", "b")}})
    written = json.loads(json.dumps(space.model_dump(mode="json")))
    params = written["params"]["trim"]
    assert json_to_distribution(params["most"]) == distribution
    assert params["words"] == ["a", "b"]
    other = SearchSpace(params={"trim": {"most": IntDistribution(1, 8), "words": ("a", "b")}})
    assert other.model_dump(mode="json") != space.model_dump(mode="json")


def test_without_some_models_nothing_asks_them() -> None:
    judge = AggregatorConfig(name="judge", modules={"judge": ModuleConfig(models=("b",))})
    networks = (
        ModuleConfig(models=("a", "b"), width=2, aggregator="majority_vote"),
        ModuleConfig(models=("a",), width=2, aggregator=judge),
        ModuleConfig(models=("a",), width=2, aggregator="majority_vote"),
    )
    space = SearchSpace(
        models={"solve": ("b",)}, network={"solve": networks}, aggregator=(judge, "majority_vote")
    ).fit(MODULES, LABELS)
    left = space.without({"b"})
    assert left.models == {"locate": ("a",), "solve": ("b",)}, "a module keeps its only ones"
    assert left.network_choices() == {"locate": (), "solve": networks[2:]}
    assert left.of("aggregator", "locate") == ("majority_vote",)
    assert space.without(set()) == space
