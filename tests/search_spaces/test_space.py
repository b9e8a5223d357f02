"""The search space: which models a module may use, and what random search draws from it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search_spaces import ModuleConfig, PipelineConfig, SearchSpace, SearchSpaceError

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
    ("models", "told"),
    [
        ({"solv": ("a",)}, "search_space names an unknown module 'solv'; nearest: 'solve'"),
        ({"solve": ("aa",)}, "search_space names an unknown model 'aa'; nearest: 'a'"),
        ({"solve": ()}, "search_space gives module 'solve' no model to choose"),
        ({"solve": ("a", "b", "a")}, "search_space gives module 'solve' the model 'a' twice"),
    ],
)
def test_what_does_not_fit_is_named(models: dict[str, Any], told: str) -> None:
    with pytest.raises(SearchSpaceError) as raised:
        SearchSpace(models=models).fit(["locate", "solve"], ["a", "b"])
    assert str(raised.value) == told


@pytest.mark.parametrize("values", [{"modles": {}}, {"models": {"solve": "a"}}])
def test_what_is_no_space_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        SearchSpace(**values)


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


@given(SPACES, st.integers(0, 2**32))
def test_a_sample_lies_in_the_space_and_its_seed_decides_it(space: SearchSpace, seed: int) -> None:
    drawn = [space.sample(config(space), np.random.default_rng(seed)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    allocation = {module: labels[0] for module, labels in drawn[0].allocation.items()}
    assert allocation in list(space.allocations())
    assert all(type(label) is str for label in allocation.values())


def test_samples_are_even() -> None:
    space = SearchSpace(models={"m1": ("a", "b"), "m2": ("a", "b", "c")})
    rng = np.random.default_rng(7)
    drawn = Counter(str(space.sample(config(space), rng).allocation) for _ in range(1200))
    assert len(drawn) == 6
    assert min(drawn.values()) > 150, "200 each are expected"
