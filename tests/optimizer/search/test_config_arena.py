"""What a race of configs knows before and from their scores."""

from __future__ import annotations

import numpy as np

from optimizer.search.config_arena import config_factors
from search_spaces import ModuleConfig, PipelineConfig


def vote(*models: str) -> PipelineConfig:
    """A module whose members have these models."""
    module = ModuleConfig(models=models, width=len(models), aggregator="majority_vote")
    return PipelineConfig(modules={"solve": module})


def alone(model: str) -> PipelineConfig:
    return PipelineConfig(modules={"solve": ModuleConfig(models=(model,))})


def test_mixed_members_share_the_effect_of_each_model() -> None:
    votes = [vote("a", "b", "c"), vote("d", "a", "b"), vote("d", "e", "c")]

    factors = np.array(config_factors([*votes, alone("a")]))
    shared = (factors[:, None] == factors[None]).sum(axis=-1)

    assert shared[0, 1] > shared[0, 2]  # two models in common rather than one
    assert shared[0, 3] < shared[0, 1]  # of one model alone


def test_without_mixed_members_the_model_is_one_factor() -> None:
    factors = config_factors([alone("a"), alone("b"), alone("c")])

    assert sorted(factors) == [(0,), (1,), (2,)]


def test_equal_configs_have_no_factor_that_differs() -> None:
    assert config_factors([alone("a"), alone("a")]) == [(0,), (0,)]
