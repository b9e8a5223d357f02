"""Warm start from an earlier result."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from evaluators.dataset import Dataset
from pipelines import Tunable
from pipelines.files.yaml_form import tuning_of
from pipelines.files.yaml_text import read_text, read_yaml
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json


def digest_of(model: Model) -> str:
    """A short digest of all that decides the model's answers and price."""
    return hashlib.sha256(canonical_json(model.identity).encode()).hexdigest()[:16]


class _Searched(BaseModel):
    models: dict[str, str]
    stages: list[str]


class _Provenance(BaseModel):
    """The part of a saved pipeline's provenance that is read."""

    searched: _Searched
    dataset: str
    metric: str


@dataclass(frozen=True)
class Start:
    """What an earlier search chose, and what it tried."""

    path: str
    config: PipelineConfig
    models: Sequence[Model]
    """Those that the saved pipeline describes."""
    earlier: _Provenance

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read the file that `Result.save` wrote.

        Raises:
            ValueError: it is no path, or the file does not say what was searched.
            OSError: the file can't be read.
        """
        rule = "start must be the path of a file that result.save(...) wrote"
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f"{rule}, but got {path!r}")
        tuning = tuning_of(read_yaml(read_text(Path(path)), str(path))[0])
        unsaid = ValueError(f"{rule}, but {str(path)!r} does not say what was searched")
        if tuning["config"] is None:
            raise unsaid
        try:
            earlier = _Provenance.model_validate(tuning["provenance"])
        except ValidationError:
            raise unsaid from None
        return cls(str(path), tuning["config"], tuning["models"], earlier)

    @property
    def finished_stages(self) -> list[str]:
        """Names of the earlier search's stages that ran to their end."""
        return self.earlier.searched.stages

    def searched_among(self, models: Mapping[str, Model]) -> frozenset[str]:
        """Labels of the models that the earlier search chose from, unchanged since."""
        digests = self.earlier.searched.models
        return frozenset(x for x, model in models.items() if digests.get(x) == digest_of(model))

    def applied_to(self, pipeline: Tunable) -> Tunable:
        """The pipeline with this config.

        Raises:
            ValueError: it has other modules.
        """
        names = [module.name for module in pipeline.modules]
        if sorted(names) != sorted(self.config.modules):
            raise ValueError(
                f"start must be of this pipeline, with the modules {names}, but {self.path!r} has "
                f"{list(self.config.modules)}"
            )
        own = {model.label: model for model in (*self.models, *pipeline.models)}
        return pipeline.with_config(self.config, list(own.values()))

    def check_scores(self, search: Dataset, metric: str) -> None:
        """Check that examples and metric are those of the earlier search.

        Raises:
            ValueError: they are not.
        """
        if self.earlier.metric != metric:
            raise ValueError(
                f"start {self.path!r} was tuned by the metric {self.earlier.metric!r}, but got "
                f"{metric!r}"
            )
        if self.earlier.dataset != f"sha256:{search.digest}":
            raise ValueError(
                f"start {self.path!r} was tuned on other examples than these (or with another seed "
                "or holdout), so nothing is known of them: give the same ones, or "
                "Pipeline.load(...) as the pipeline, which searches everything"
            )
