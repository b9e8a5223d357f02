"""The allowed configs: for every module, the values that its knobs may take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Annotated, Any, Literal, Self, TypeVar

from optuna.distributions import BaseDistribution, distribution_to_json
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictFloat,
    model_validator,
)

from search_spaces.config import (
    MAX_WIDTH,
    AggregatorConfig,
    ModuleConfig,
    PipelineConfig,
    ReplyFormat,
)
from search_spaces.refusals import Whole, nearest, refusing_with

T = TypeVar("T")


class SearchSpaceError(ValueError):
    """A search space that does not fit its pipeline or its models."""


Distribution = Annotated[BaseDistribution, PlainSerializer(distribution_to_json)]


def _listed(given: Any) -> Any:
    """One value alone is the only choice."""
    if isinstance(given, Set):
        raise ValueError(f"choices have an order: give a list or a tuple, but not {given!r}")
    return (given,) if isinstance(given, str | int | float | BaseModel) else given


def _by_module_only(given: Any) -> Any:
    if not isinstance(given, Mapping):
        raise ValueError(f"goes by module, such as {{'solve': ...}}, but got {given!r}")
    return given


def _not_blank(given: str) -> str:
    if not given.strip():
        raise ValueError(f"must be text that is not blank, but got {given!r}")
    return given


Listed = Annotated[tuple[T, ...], BeforeValidator(_listed)]
Choices = Listed[T] | dict[str, Listed[T]]
"""The same choices for every module that asks a model, or by module."""
ByModule = Annotated[dict[str, T], BeforeValidator(_by_module_only)]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "default"]
"""litellm's values of `reasoning_effort`; which of them a model takes depends on its provider."""

DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "temperature": (0.0, 0.7, 1.0),
    "reasoning_effort": (),
    "reply_format": (),
    "width": (1, 3, 5),
    "aggregator": ("majority_vote", "confident_vote", "judge", "verifier", "cascade"),
    "network": (),
}
"""The choices of knobs that a space leaves open."""

_ASKED_ONCE: Mapping[str, tuple[Any, ...]] = {"width": (1,), "aggregator": ()}
"""The same for modules that can't have members."""

_NOT_EXPORTABLE = ("width", "aggregator", "network", "reply_format")
"""Knobs that a plain DSPy program can't express."""

_ASKING = "module that asks a model"


@refusing_with(SearchSpaceError)
class SearchSpace(BaseModel):
    """The values that knobs may take.

    `SearchSpace(models={"solve": ["a", "b"]}, width=(1, 3))` narrows one module's models and every
    module's width; `fit` fills in the others. The value that a module starts with is always among
    the choices, and the only one for an empty list, as in `temperature=()`. One value alone, as in
    `width=3`, is a list of one.

    Raises:
        SearchSpaceError: an unknown knob, or a value that it can't take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    models: ByModule[Listed[str]] = {}
    """Model labels by module."""
    temperature: Choices[Annotated[StrictFloat, Field(ge=0, le=2)] | None] | None = None
    """0, 0.7 and 1, if not given; models that have no such parameter ignore it."""
    reasoning_effort: Choices[Effort | None] | None = None
    """Such as `("low", "medium", "high")`; not searched, if not given."""
    reply_format: Choices[ReplyFormat] | None = None
    """Such as `("chat", "json")`; not searched, if not given."""
    width: Choices[Annotated[Whole, Field(ge=1, le=MAX_WIDTH)]] | None = None
    """1, 3 and 5, if not given. Those above 8 are tried only where a closed form predicts
    a gain; those in between are scored too, where the answers are there anyway."""
    aggregator: Choices[str | AggregatorConfig] | None = None
    """For widths above 1: names, or with parameters and models as in `judge(openai/gpt-4o)`. Where
    one needs a model and names none, it starts with the best single model. Parameters that are not
    given are searched where the aggregator has choices for them: `judge(a)` is tried both picking
    and writing. With `aggregator=()` no width above 1 is tried but those of networks."""
    network: Choices[str | ModuleConfig] = {}
    """Whole networks to be compared with these, such as `2x a + b -> cascade(steps=[2, 1])`."""
    distinct_models: StrictBool | dict[str, StrictBool] = False
    """Whether proposed networks have only members of different models: for all modules, or by
    module. Widths above the number of models are not tried then. Networks that you list, and those
    that modules start with, are not affected."""
    instructions: ByModule[Listed[Annotated[str, AfterValidator(_not_blank)]]] = {}
    """Prompts of your own by module, compared together with the other knobs."""
    params: ByModule[dict[str, Listed[Any] | Distribution]] = {}
    """Parameters of function modules: choices, or a distribution of Optuna's, by name."""
    exportable: StrictBool = False
    """Whether to keep to what a plain DSPy program can express: no module has several members or a
    reply format of its own, so that `result.to_dspy()` does not need this library."""

    @model_validator(mode="after")
    def _only_exportable(self) -> Self:
        given = [name for name in _NOT_EXPORTABLE if getattr(self, name)]
        if self.exportable and given:
            raise ValueError(
                f"exportable=True leaves no choice of {given[0]}: leave one of them out"
            )
        return self

    def fit(
        self,
        modules: Sequence[str],
        labels: Sequence[str],
        functions: Sequence[str] = (),
        asked_once: Collection[str] = (),
    ) -> SearchSpace:
        """This space over `modules`, each with its own choices or else all `labels`.

        Args:
            modules: those that ask a model.
            labels: the models there are.
            functions: the other modules.
            asked_once: those of `modules` that can't have several members.

        Raises:
            SearchSpaceError: an unknown module or model, or a module with none, or with one twice.
        """
        for module, choices in self.models.items():
            _known(module, modules, _ASKING, "models")
            if not choices:
                raise SearchSpaceError(f"search_space gives module {module!r} no model to choose")
            for label in choices:
                check_model(label, labels, f"models of module {module!r}")
                if choices.count(label) > 1:
                    raise SearchSpaceError(
                        f"search_space gives module {module!r} the model {label!r} twice"
                    )
        for module in self.instructions:
            _known(module, modules, _ASKING, "instructions")
        for module in self.params:
            _known(module, functions, "function module", "params")
        asked_once = modules if self.exportable else asked_once
        filled = {
            knob: _by_module(knob, getattr(self, knob), modules, asked_once) for knob in DEFAULTS
        }
        filled["models"] = {module: self.models.get(module, tuple(labels)) for module in modules}
        given = self.distinct_models
        for module in given if isinstance(given, dict) else ():
            _known(module, modules, _ASKING, "distinct_models")
        every = given if isinstance(given, dict) else dict.fromkeys(modules, given)
        return self.model_copy(update={"distinct_models": every, **filled})

    def of(self, knob: str, module: str) -> tuple[Any, ...]:
        """The choices of one knob of one module, after `fit`."""
        choices: Mapping[str, tuple[Any, ...]] = getattr(self, knob)
        return choices.get(module, ())

    def distinct(self, module: str) -> bool:
        """Whether networks proposed for the module must have members of different models."""
        given = self.distinct_models
        return given.get(module, False) if isinstance(given, dict) else given

    def network_choices(self) -> Mapping[str, tuple[ModuleConfig, ...]]:
        """The networks to compare by module, without those still in the short notation."""
        choices = self.network if isinstance(self.network, dict) else {}
        return {
            module: tuple(network for network in networks if isinstance(network, ModuleConfig))
            for module, networks in choices.items()
        }

    def without(self, labels: Set[str]) -> SearchSpace:
        """A copy without these models, after `fit`; a module that has no other keeps its own.

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


def _by_module(
    knob: str,
    given: tuple[Any, ...] | dict[str, tuple[Any, ...]] | None,
    modules: Sequence[str],
    asked_once: Collection[str],
) -> dict[str, tuple[Any, ...]]:
    """The choices of every module.

    Raises:
        SearchSpaceError: an unknown module.
    """
    if given is not None and not isinstance(given, dict):
        return dict.fromkeys(modules, given)
    chosen = given or {}
    for module in chosen:
        _known(module, modules, _ASKING, knob)
    default, once = DEFAULTS[knob], _ASKED_ONCE.get(knob, DEFAULTS[knob])
    return {m: chosen.get(m, once if m in asked_once else default) for m in modules}


def _clear_of(labels: Set[str], choices: tuple[Any, ...]) -> tuple[Any, ...]:
    """The networks and aggregators that ask none of these models."""
    return tuple(choice for choice in choices if not labels & _asked_by(choice))


def _asked_by(choice: str | ModuleConfig | AggregatorConfig) -> set[str]:
    if isinstance(choice, str):
        return set()
    networks = [choice] if isinstance(choice, ModuleConfig) else choice.modules.values()
    walked = (module for network in networks for _, module in network.walk(""))
    return {label for module in walked for label in module.models}


def check_model(label: str, labels: Collection[str], place: str) -> None:
    """Whether the model is one of those there are.

    Raises:
        SearchSpaceError: it is not; says where it was named, and the nearest.
    """
    if label not in labels:
        raise SearchSpaceError(
            f"search_space, {place}: model {label!r} is not among the models given to optimize: "
            f"add it to `models`, or correct it{nearest(label, labels)}"
        )


def _known(name: str, known: Sequence[str], what: str, knob: str) -> None:
    if name not in known:
        hint = nearest(name, known)
        raise SearchSpaceError(f"search_space, {knob}: {name!r} is no {what}{hint}")
