"""Which configs are allowed: for every module, the models that it may use."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from search_spaces.config import PipelineConfig


class SearchSpaceError(ValueError):
    """A search space that does not fit its pipeline or its models."""


class SearchSpace(BaseModel):
    """The model labels that each module may use.

    `SearchSpace(models={"solve": ["a", "b"]})` narrows one module; `fit` fills in the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, tuple[str, ...]] = {}

    def fit(self, modules: Sequence[str], labels: Sequence[str]) -> SearchSpace:
        """This space over `modules`, each with its own choices or else all `labels`.

        Raises:
            SearchSpaceError: an unknown module or model, or a module with none, or with one twice.
        """
        for module, choices in self.models.items():
            _known(module, modules, "module")
            if not choices:
                raise SearchSpaceError(f"search_space gives module {module!r} no model to choose")
            for label in choices:
                _known(label, labels, "model")
                if choices.count(label) > 1:
                    raise SearchSpaceError(
                        f"search_space gives module {module!r} the model {label!r} twice"
                    )
        return SearchSpace(models={m: self.models.get(m, tuple(labels)) for m in modules})

    @property
    def size(self) -> int:
        """How many allocations there are."""
        return math.prod(len(choices) for choices in self.models.values())

    def has_more_than(self, config: PipelineConfig) -> bool:
        """Whether it holds any allocation but the config's own."""
        return any(
            len(choices) > 1 or set(choices) != set(config.allocation[module])
            for module, choices in self.models.items()
        )

    def single_models(self) -> tuple[str, ...]:
        """The labels that every module may use, in the order given."""
        every = list(self.models.values())
        return tuple(label for label in every[0] if all(label in choices for choices in every))

    def allocations(self) -> Iterator[Mapping[str, str]]:
        """Every allocation, the last module varying fastest."""
        for labels in itertools.product(*self.models.values()):
            yield dict(zip(self.models, labels, strict=True))

    def sample(self, config: PipelineConfig, rng: np.random.Generator) -> PipelineConfig:
        """`config` with a model drawn evenly for every module: random search's proposal."""
        drawn = {module: str(rng.choice(choices)) for module, choices in self.models.items()}
        return config.with_models(drawn)


def _known(name: str, known: Sequence[str], what: str) -> None:
    if name in known:
        return
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    hint = f"; nearest: {nearest[0]!r}" if nearest else ""
    raise SearchSpaceError(f"search_space names an unknown {what} {name!r}{hint}")
