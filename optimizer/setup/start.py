"""Where a search starts that goes on from the result of an earlier one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from evaluators.dataset import Dataset
from pipelines import Tunable
from pipelines.files.yaml_form import tuning_of
from pipelines.files.yaml_text import read_text, read_yaml
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig


@dataclass(frozen=True)
class Start:
    """What an earlier search chose, and what it tried."""

    path: str
    config: PipelineConfig
    models: Sequence[Model]
    searched_models: frozenset[str]
    """Labels of the models that it chose from: allocations of these alone are not run again."""
    searched_stages: frozenset[str]
    """Names of its stages that ran to their end."""
    dataset: str
    """Digest of the examples that it searched on, as `sha256:...`."""

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
        facts = tuning["provenance"]
        if tuning["config"] is None or not {"searched", "dataset"} <= facts.keys():
            raise ValueError(f"{rule}, but {str(path)!r} does not say what was searched")
        models, stages = (frozenset(facts["searched"][name]) for name in ("models", "stages"))
        return cls(str(path), tuning["config"], tuning["models"], models, stages, facts["dataset"])

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

    def check_examples(self, search: Dataset) -> None:
        """Raises ValueError unless these are the examples that were searched on."""
        if self.dataset != f"sha256:{search.digest}":
            raise ValueError(
                f"start {self.path!r} was tuned on other examples than these (or with another seed "
                "or holdout), so nothing is known of them: give the same ones, or "
                "Pipeline.load(...) as the pipeline, which searches everything"
            )
