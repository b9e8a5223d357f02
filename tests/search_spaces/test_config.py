"""Configs: frozen, comparable, with a key that only their values decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search_spaces import AggregatorConfig, Difference, ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json
from tests.launching import run_python

NAMES = st.sampled_from(["locate", "solve", "check"])
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("aé☃", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=4,
)
MODULES = st.builds(
    ModuleConfig,
    models=st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
    temperature=st.none() | st.floats(0, 2),
    width=st.integers(1, 5),
    aggregator=st.none() | st.just("majority_vote"),
    instructions=st.none() | st.text(max_size=5),
    demos=st.lists(st.dictionaries(st.text("q"), VALUES, max_size=1), max_size=2).map(tuple),
    params=st.dictionaries(st.text("xy", min_size=1), VALUES, max_size=2),
)
CONFIGS = st.builds(PipelineConfig, modules=st.dictionaries(NAMES, MODULES, max_size=3))
TWO = PipelineConfig(
    modules={
        "locate": ModuleConfig(models=("a",)),
        "trim": ModuleConfig(params={"most": 3}),
        "solve": ModuleConfig(models=("a", "b", "c"), width=3, aggregator="majority_vote"),
    }
)


@given(CONFIGS)
def test_the_key_survives_json_and_the_order_of_names(config: PipelineConfig) -> None:
    turned = dict(reversed(list(json.loads(config.canonical_json())["modules"].items())))
    again = PipelineConfig.model_validate({"modules": turned})
    assert again == config
    assert again.canonical_json() == config.canonical_json()
    assert again.key == config.key
    assert len(config.key) == 16
    assert int(config.key, 16) >= 0


@given(CONFIGS, CONFIGS)
def test_keys_are_equal_when_the_values_are(one: PipelineConfig, other: PipelineConfig) -> None:
    assert (one.key == other.key) == (one.canonical_json() == other.canonical_json())
    if set(one.modules) == set(other.modules):
        assert (one == other) == (not one.differences(other))


def test_the_key_is_the_same_in_every_process() -> None:
    code = (
        "from search_spaces import ModuleConfig, PipelineConfig; print(PipelineConfig(modules={"
        "'solve': ModuleConfig(models=('a',), params={'y': 1, 'x': 'é'})}).key)"
    )
    ran = run_python("-c", code)
    here = ModuleConfig(models=("a",), params={"x": "é", "y": 1})
    assert ran.stdout.strip() == PipelineConfig(modules={"solve": here}).key == "dd69213a8228356f"


def test_the_allocation_leaves_out_what_calls_no_model() -> None:
    assert TWO.allocation == {"locate": ("a",), "solve": ("a", "b", "c")}


def test_with_models_changes_a_copy() -> None:
    before = TWO.canonical_json()
    changed = TWO.with_models({"locate": "b", "solve": ("c", "c", "a")})
    assert changed.allocation == {"locate": ("b",), "solve": ("c", "c", "a")}
    assert changed.modules["solve"].width == 3
    assert changed.modules["trim"] == TWO.modules["trim"]
    assert TWO.canonical_json() == before
    assert changed.key != TWO.key
    assert changed.with_models(TWO.allocation) == TWO


@pytest.mark.parametrize("name", ["trim", "nowhere"])
def test_with_models_refuses_what_calls_no_model(name: str) -> None:
    with pytest.raises(KeyError, match=rf"'{name}' calls no model; those that do: \['locate', 's"):
        TWO.with_models({name: "a"})


def test_differences_name_module_and_knob_in_order() -> None:
    other = TWO.with_models({"solve": "b", "locate": "c"})
    trimmed = other.modules["trim"].model_copy(update={"params": {"most": 4}})
    other = PipelineConfig(modules={**other.modules, "trim": trimmed})
    assert TWO.differences(other) == (
        Difference("locate", "models", ("a",), ("c",)),
        Difference("trim", "most", 3, 4),
        Difference("solve", "models", ("a", "b", "c"), ("b",)),
    )
    assert TWO.differences(TWO) == ()


@pytest.mark.parametrize(
    "values",
    [{"width": 0}, {"temperature": -0.1}, {"temperature": 2.5}, {"modles": ("a",)},
     {"models": "a"}, {"demos": ["x"]}],
)  # fmt: skip
def test_values_out_of_range_and_unknown_knobs_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        ModuleConfig(**values)


def test_configs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TWO.modules["solve"].width = 1
    with pytest.raises(ValidationError, match="frozen"):
        TWO.modules = {}


def test_canonical_json_writes_what_json_has_no_form_for_as_text() -> None:
    assert canonical_json({"b": Path("x"), "a": [1, "é"]}) == '{"a":[1,"é"],"b":"x"}'


JUDGE = ModuleConfig(
    models=("j", "k"),
    width=2,
    aggregator=AggregatorConfig(name="judge", modules={"judge": ModuleConfig(models=("l",))}),
)
NESTED = PipelineConfig(
    modules={
        "trim": ModuleConfig(params={"most": 3}),
        "solve": ModuleConfig(
            models=("a", "b"),
            width=2,
            temperature=0.7,
            aggregator=AggregatorConfig(name="verifier", modules={"verifier": JUDGE}),
        ),
    }
)
PATHS = ("trim", "solve", "solve.verifier", "solve.verifier.judge")


def at(config: PipelineConfig, path: str) -> ModuleConfig:
    walked = [pair for name, module in config.modules.items() for pair in module.walk(name)]
    return dict(walked)[path]


def test_a_bare_aggregator_is_written_as_its_name() -> None:
    bare = ModuleConfig(width=2, aggregator=AggregatorConfig(name="majority_vote"))
    named = ModuleConfig(width=2, aggregator="majority_vote")
    assert bare == named
    assert bare.aggregator == "majority_vote"
    assert named.aggregation == AggregatorConfig(name="majority_vote")
    weighted = AggregatorConfig(name="majority_vote", params={"weights": [1, 2]})
    assert ModuleConfig(width=2, aggregator=weighted).aggregation == weighted
    assert ModuleConfig().aggregation is None


def test_walk_names_roles_at_any_depth() -> None:
    walked = [path for name, module in NESTED.modules.items() for path, _ in module.walk(name)]
    assert walked == list(PATHS)
    assert NESTED.allocation == {
        "solve": ("a", "b"), "solve.verifier": ("j", "k"), "solve.verifier.judge": ("l",),
    }  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_with_knobs_changes_the_module_at_its_path_and_no_other(path: str) -> None:
    before = NESTED.canonical_json()
    changed = NESTED.with_knobs(path, instructions="Think.")
    assert at(changed, path).instructions == "Think."
    for other in PATHS:
        mine, given = (at(c, other).model_dump(exclude={"aggregator"}) for c in (changed, NESTED))
        assert (mine == given) == (other != path)
    assert NESTED.canonical_json() == before
    assert changed.with_knobs(path, instructions=None) == NESTED
    assert changed.key != NESTED.key


def test_with_models_reaches_roles() -> None:
    changed = NESTED.with_models({"solve.verifier.judge": "a", "solve.verifier": ("k", "j")})
    assert changed.allocation == {
        "solve": ("a", "b"), "solve.verifier": ("k", "j"), "solve.verifier.judge": ("a",),
    }  # fmt: skip
    assert changed.with_models(NESTED.allocation) == NESTED


@pytest.mark.parametrize("path", ["solv", "solve.judge", "trim.judge", "solve.verifier.judge.x"])
def test_a_path_that_leads_nowhere_is_named_with_those_there_are(path: str) -> None:
    with pytest.raises(
        KeyError, match=rf"there is no module '{path}'; there are \['trim', 'solve'"
    ):
        NESTED.with_knobs(path, width=1)
    with pytest.raises(KeyError, match=rf"'{path}' calls no model"):
        NESTED.with_models({path: "a"})


def test_a_knob_out_of_range_is_refused_at_any_depth() -> None:
    with pytest.raises(ValueError, match="temperature"):
        NESTED.with_knobs("solve.verifier.judge", temperature=3)


def test_a_network_keeps_the_knobs_that_it_leaves_unsaid() -> None:
    own = ModuleConfig(models=("a",), temperature=0.3, instructions="Think.")
    network = ModuleConfig(models=("b", "c"), width=2, aggregator="majority_vote")
    made = own.with_network(network)
    assert made == ModuleConfig(
        models=("b", "c"), width=2, aggregator="majority_vote",
        temperature=0.3, instructions="Think.",
    )  # fmt: skip
    assert own.with_network(ModuleConfig(temperature=None)).temperature is None


@pytest.mark.parametrize(
    ("modules", "label"),
    [
        ({"x": ModuleConfig(models=("a",)), "y": ModuleConfig(models=("a",))}, "a"),
        ({"x": ModuleConfig(models=("a",)), "y": ModuleConfig(models=("b",))}, None),
        ({"x": ModuleConfig(models=("a",)), "y": ModuleConfig()}, "a"),
        ({"x": ModuleConfig(models=("a",), width=3, aggregator="majority_vote")}, None),
        ({"y": ModuleConfig()}, None),
    ],
)
def test_a_single_model_is_asked_once_in_every_module(
    modules: dict[str, ModuleConfig], label: str | None
) -> None:
    assert PipelineConfig(modules=modules).single_model == label
