"""Which configs are allowed: for every module, the values that its knobs may take."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Annotated, Any, TypeVar

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from search_spaces.config import AggregatorConfig, ModuleConfig, PipelineConfig

T = TypeVar("T")


class SearchSpaceError(ValueError):
    """A search space that does not fit its pipeline or its models."""


def _as_json(distribution: BaseDistribution) -> str:
    return distribution_to_json(distribution)


Distribution = Annotated[
    IntDistribution | FloatDistribution | CategoricalDistribution, PlainSerializer(_as_json)
]
Choices = tuple[T, ...] | dict[str, tuple[T, ...]]
"""The same choices for every module that asks a model, or by module."""

TEMPERATURES = (0.0, 0.7, 1.0)
WIDTHS = (1, 3, 5)
AGGREGATORS = ("majority_vote", "confident_vote", "judge", "verifier", "cascade")
"""What is tried where nothing else is said."""


class SearchSpace(BaseModel):
    """The values that knobs may take.

    `SearchSpace(models={"solve": ["a", "b"]}, width=(1, 3))` narrows one module's models and every
    module's width; `fit` fills in the others. What a module starts with may always stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    models: dict[str, tuple[str, ...]] = {}
    """Model labels by module."""
    temperature: Choices[Annotated[float, Field(ge=0, le=2)] | None] | None = None
    """0, 0.7 and 1, if not given; models that have no such parameter ignore it."""
    reasoning_effort: Choices[str | None] | None = None
    """Such as `("low", "medium", "high")`; not searched, if not given."""
    width: Choices[Annotated[int, Field(ge=1)]] | None = None
    """1, 3 and 5, if not given. Those above 5 are tried only where a closed form promises
    that they pay; those in between are scored too, where the answers are there anyway."""
    aggregator: Choices[str | AggregatorConfig] | None = None
    """For widths above 1: names, or with parameters and models as in `judge(openai/gpt-4o)`. Where
    one needs a model and names none, it starts with the best single model."""
    network: Choices[str | ModuleConfig] = {}
    """Whole networks to be compared beside these, such as `2x a + b -> cascade(steps=[2, 1])`."""
    params: dict[str, dict[str, tuple[Any, ...] | Distribution]] = {}
    """Parameters of function modules: choices, or a distribution of Optuna's, by name."""

    def fit(
        self, modules: Sequence[str], labels: Sequence[str], functions: Sequence[str] = ()
    ) -> SearchSpace:
        """This space over `modules`, each with its own choices or else all `labels`.

        Args:
            modules: those that ask a model.
            labels: the models there are.
            functions: the other modules.

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
        for module in self.params:
            _known(module, functions, "function module")
        return self.model_copy(
            update={
                "models": {m: self.models.get(m, tuple(labels)) for m in modules},
                "temperature": _by_module(self.temperature, modules, TEMPERATURES),
                "reasoning_effort": _by_module(self.reasoning_effort, modules, ()),
                "width": _by_module(self.width, modules, WIDTHS),
                "aggregator": _by_module(self.aggregator, modules, AGGREGATORS),
                "network": _by_module(self.network, modules, ()),
            }
        )

    def of(self, knob: str, module: str) -> tuple[Any, ...]:
        """The choices of one knob of one module, after `fit`."""
        choices: Mapping[str, tuple[Any, ...]] = getattr(self, knob)
        return choices.get(module, ())

    def network_choices(self) -> Mapping[str, tuple[ModuleConfig, ...]]:
        """The networks to be compared by module, once they are no text any more."""
        choices = self.network if isinstance(self.network, dict) else {}
        return {
            module: tuple(network for network in networks if isinstance(network, ModuleConfig))
            for module, networks in choices.items()
        }

    def without(self, labels: Set[str]) -> SearchSpace:
        """A copy that asks none of these models, after `fit`; what a module has no other for stays.

        Networks and aggregators that ask one of them are left out.
        """
        models = {m: tuple(c for c in given if c not in labels) for m, given in self.models.items()}
        return self.model_copy(
            update={
                "models": {m: left or self.models[m] for m, left in models.items()},
                "network": {m: _clear_of(labels, self.of("network", m)) for m in models},
                "aggregator": {m: _clear_of(labels, self.of("aggregator", m)) for m in models},
            }
        )

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


def _by_module(
    given: tuple[Any, ...] | dict[str, tuple[Any, ...]] | None,
    modules: Sequence[str],
    default: tuple[Any, ...],
) -> dict[str, tuple[Any, ...]]:
    """The choices of every module.

    Raises:
        SearchSpaceError: an unknown module.
    """
    if given is None or isinstance(given, tuple):
        return dict.fromkeys(modules, default if given is None else given)
    for module in given:
        _known(module, modules, "module")
    return {module: given.get(module, default) for module in modules}


def _clear_of(labels: Set[str], choices: tuple[Any, ...]) -> tuple[Any, ...]:
    """The networks and aggregators that ask none of these models."""
    return tuple(choice for choice in choices if not labels & _asked_by(choice))


def _asked_by(choice: str | ModuleConfig | AggregatorConfig) -> set[str]:
    if isinstance(choice, str):
        return set()
    networks = [choice] if isinstance(choice, ModuleConfig) else choice.modules.values()
    walked = (module for network in networks for _, module in network.walk(""))
    return {label for module in walked for label in module.models}


def _known(name: str, known: Sequence[str], what: str) -> None:
    if name in known:
        return
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    hint = f"; nearest: {nearest[0]!r}" if nearest else ""
    raise SearchSpaceError(f"search_space names an unknown {what} {name!r}{hint}")
