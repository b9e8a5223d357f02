"""Members with settings of their own: one form for equal values, and exact copies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import MemberConfig, ModuleConfig, PipelineConfig

DEMOS: Any = st.sampled_from([(), ({"q": 1},), ({"q": True},), ({"q": "é"}, {})])
SETTINGS = {
    "temperature": st.sampled_from([0.0, 0.2, 0.7]),
    "instructions": st.sampled_from(["Think.", "Be brief."]),
    "demos": DEMOS,
}
MEMBERS = st.builds(
    lambda model, own: MemberConfig(model, **own),
    st.sampled_from("ab"),
    st.fixed_dictionaries({}, optional=SETTINGS),
)
MODULE_SETTINGS = st.fixed_dictionaries({}, optional=SETTINGS)
LISTS = st.lists(MEMBERS, min_size=1, max_size=4)


def asking(members: Any, **knobs: Any) -> ModuleConfig:
    return ModuleConfig(members=members, **knobs)


def key(config: ModuleConfig) -> str:
    return PipelineConfig(modules={"solve": config}).key


@given(LISTS, MODULE_SETTINGS)
def test_the_one_form_keeps_what_every_member_runs_with(
    members: list[MemberConfig], module: dict[str, Any]
) -> None:
    config, module = asking(members, **module), {**ModuleConfig().settings, **module}
    resolved = [member.resolved(module) for member in members]
    assert [repr(m) for m in config.resolved_members] == [repr(m) for m in resolved]
    assert config.labels == tuple(member.model for member in members)
    assert config.width == len(members)
    assert not config.members or any(member.own for member in config.members)


@given(LISTS, MODULE_SETTINGS)
def test_a_setting_spelt_out_or_left_to_the_module_gives_one_key(
    members: list[MemberConfig], module: dict[str, Any]
) -> None:
    config = asking(members, **module)
    spelt_out = asking(config.resolved_members, **config.settings)
    assert spelt_out == config
    assert key(spelt_out) == key(config)


@given(LISTS, MODULE_SETTINGS)
def test_json_brings_back_the_same_config(
    members: list[MemberConfig], module: dict[str, Any]
) -> None:
    config = PipelineConfig(modules={"solve": asking(members, **module)})
    again = PipelineConfig.model_validate_json(config.canonical_json())
    assert again == config
    assert again.canonical_json() == config.canonical_json()
    assert PipelineConfig.model_validate(config.model_dump()) == config


@given(LISTS, LISTS)
def test_equal_configs_have_no_differences_and_equal_keys(
    one: list[MemberConfig], other: list[MemberConfig]
) -> None:
    first, second = (PipelineConfig(modules={"solve": asking(each)}) for each in (one, other))
    assert (first.key == second.key) == (first.canonical_json() == second.canonical_json())
    assert (first == second) == (not first.differences(second))


@given(LISTS, MODULE_SETTINGS)
def test_other_models_leave_members_their_settings(
    members: list[MemberConfig], module: dict[str, Any]
) -> None:
    config = PipelineConfig(modules={"solve": asking(members, **module)})
    changed = config.with_models({"solve": "c"})
    assert changed.allocation == {"solve": ("c",)}
    before, after = (c.modules["solve"].resolved_members for c in (config, changed))
    assert [member.own for member in after] == [member.own for member in before]
    assert changed.with_models({"solve": config.modules["solve"].labels}) == config.with_models(
        {"solve": config.modules["solve"].labels}
    )
    assert config.with_models(config.allocation) == config


@given(LISTS)
def test_a_copy_with_another_temperature_has_the_one_form_too(members: list[MemberConfig]) -> None:
    config = asking(members, temperature=0.7)
    copied = config.model_copy(update={"temperature": 0.2})
    cooler = {**config.settings, "temperature": 0.2}
    assert copied == asking(config.members or config.labels, **cooler)
    assert config.model_copy() == config


@pytest.mark.parametrize(
    ("members", "models"),
    [(("a", "a"), ("a",)), (("a", "b"), ("a", "b")), ((MemberConfig("a"), "b"), ("a", "b"))],
)
def test_members_that_differ_in_nothing_but_the_model_are_models(
    members: Any, models: tuple[str, ...]
) -> None:
    short = ModuleConfig(models=models, width=2, aggregator="majority_vote")
    assert asking(members, aggregator="majority_vote") == short
    assert "members" not in short.model_dump_json()
    assert key(asking(members, aggregator="majority_vote")) == key(short)


def test_a_setting_that_all_members_share_is_the_modules() -> None:
    config = asking([MemberConfig("a", temperature=0.2), MemberConfig("b", temperature=0.2)])
    assert config == ModuleConfig(models=("a", "b"), width=2, temperature=0.2)
    alone = asking([MemberConfig("a", instructions="Think.")])
    assert alone == ModuleConfig(models=("a",), instructions="Think.")


def test_demos_that_are_equal_but_written_otherwise_stay_apart() -> None:
    config = asking([MemberConfig("a", demos=({"q": 1},)), MemberConfig("a", demos=({"q": True},))])
    assert [m.demos for m in config.members] == [({"q": 1},), ({"q": True},)]


def test_a_network_keeps_the_settings_that_it_leaves_unsaid() -> None:
    own = ModuleConfig(models=("a",), temperature=0.7, instructions="Think.")
    network = asking([MemberConfig("a", instructions="Be brief."), "b"], aggregator="majority_vote")
    told = [(m.instructions, m.temperature) for m in own.with_network(network).resolved_members]
    assert told == [("Be brief.", 0.7), ("Think.", 0.7)]
    plain = ModuleConfig(models=("c",), width=2, aggregator="majority_vote")
    assert own.with_network(network).with_network(plain) == own.with_network(plain)
    cool = asking([MemberConfig("a", temperature=0.2), MemberConfig("b", temperature=0.2)])
    assert own.with_network(cool).temperature == 0.2


def test_labels_alone_replace_members_with_settings() -> None:
    config = asking([MemberConfig("a", temperature=0.2), "b"], temperature=0.7)
    assert config.with_members(["a", "b"], None) == ModuleConfig(
        models=("a", "b"), width=2, temperature=0.7
    )
    alone = config.with_knobs(models=("b",), width=1)
    assert alone == ModuleConfig(models=("b",), temperature=0.7)


def test_a_difference_in_settings_is_one_of_members_and_in_models_one_of_models() -> None:
    config = PipelineConfig(modules={"solve": asking([MemberConfig("a", temperature=0.2), "b"])})
    (moved,) = config.differences(config.with_models({"solve": ("b", "a")}))
    assert (moved.knob, moved.old, moved.new) == ("models", ("a", "b"), ("b", "a"))
    warmer = config.with_knobs("solve", members=(MemberConfig("a", temperature=0.3), "b"))
    (heated,) = config.differences(warmer)
    assert (heated.knob, heated.old, heated.new) == (
        "members", ({"temperature": 0.2}, {}), ({"temperature": 0.3}, {}),
    )  # fmt: skip


TWO = [MemberConfig("a", temperature=0.2), "b"]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"members": TWO, "width": 3}, "members must be as many as the width 3, but got 2"),
        ({"members": TWO, "models": ("c",)},
         r"models must be those of the members \['a', 'b'\], but got \['c'\]"),
        ({"members": [{"model": "a", "tempreture": 1}]}, r"members=\{'tempreture': ...\}"),
        ({"members": [{"model": "a", "temperature": 3}]}, "less than or equal to 2"),
        ({"members": [{"temperature": 1}]}, r"members=...\): 'model' is missing"),
        ({"members": [{"model": "a", "demos": "x"}]}, r"members=\{'demos': ...\}"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModuleConfig(**knobs)


def test_a_width_that_is_not_that_of_the_members_is_refused_later_too() -> None:
    with pytest.raises(ValueError, match="as many as the width 1, but got 2"):
        asking(TWO).with_knobs(width=1)
    with pytest.raises(ValueError, match=r"those of the members \['a', 'b'\]"):
        asking(TWO).with_knobs(models=("a", "b", "c"))


def test_members_are_frozen() -> None:
    member: Any = MemberConfig("a")
    with pytest.raises(AttributeError, match="temperature"):
        member.temperature = 1.0
