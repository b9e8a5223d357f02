"""What a race of configs knows before and from their scores."""

from __future__ import annotations

import numpy as np
import pytest

from evaluators.racing.posterior import Design, Posterior
from optimizer.search.config_arena import config_factors, model_mixtures
from search_spaces import ModuleConfig, PipelineConfig


def vote(*models: str) -> PipelineConfig:
    """A module whose members have these models."""
    module = ModuleConfig(models=models, width=len(models), aggregator="majority_vote")
    return PipelineConfig(modules={"solve": module})


def alone(model: str) -> PipelineConfig:
    return PipelineConfig(modules={"solve": ModuleConfig(models=(model,))})


def test_votes_are_the_more_alike_the_more_models_they_share() -> None:
    configs = [vote("a", "b", "c"), vote("d", "a", "b"), vote("d", "e", "c"), alone("a")]

    (shares,) = model_mixtures(configs)
    alike = shares @ shares.T

    assert np.diag(alike) == pytest.approx(1.0)
    assert alike[0, 1] == pytest.approx(2 / 3)
    assert alike[0, 2] == pytest.approx(1 / 3)
    assert alike[0, 3] == pytest.approx(3**-0.5)
    assert len(config_factors(configs)[0]) == 2  # width and aggregator, not the models


def test_what_a_vote_scores_says_something_of_votes_with_the_same_models() -> None:
    configs = [vote("a", "b", "c"), vote("d", "e", "f"), vote("a", "b", "g"), vote("d", "e", "g")]
    scores = np.full((4, 40), np.nan)
    scores[0], scores[1] = 1.0, 0.0
    factors = np.array(config_factors(configs))
    design = Design(factors, np.eye(4), mixtures=model_mixtures(configs))

    means = Posterior.fit(scores, design).mean

    assert means[2] > means[3] + 0.05


def test_without_mixed_members_the_model_is_one_factor() -> None:
    assert not model_mixtures([alone("a"), alone("b")])
    factors = config_factors([alone("a"), alone("b"), alone("c")])

    assert sorted(factors) == [(0,), (1,), (2,)]


def test_equal_configs_have_no_factor_that_differs() -> None:
    assert config_factors([alone("a"), alone("a")]) == [(0,), (0,)]
