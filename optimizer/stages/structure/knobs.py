"""The possible settings of a module's knobs: all in a list, or one drawn by Optuna."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.distributions import FloatDistribution, IntDistribution

from optimizer.setup.space_checks import with_judge
from pipelines import PipelineError, Tunable
from pipelines.aggregators import aggregator, check_aggregator
from pipelines.aggregators.notation import aggregation_text
from pipelines.gateway.provider import Knob
from pipelines.spec.config_checks import check_config
from search_spaces import AggregatorConfig, ModuleConfig, PipelineConfig, SearchSpace
from search_spaces.config import canonical_json

if TYPE_CHECKING:
    from optuna.trial import Trial

T = TypeVar("T")
Choose = Callable[[str, Any], Any]
"""Takes a knob's name and its choices, or a distribution of Optuna's, and returns one value."""

_PLAIN = (str, int, float, bool, type(None))
"""What Optuna can store; other choices are stored as JSON."""

SAMPLED = 8
"""The widest network that is tried without a closed form that predicts a gain."""


@dataclass(frozen=True)
class Knobs:
    """The structural knobs of a pipeline's modules, and what they may be set to."""

    pipeline: Tunable
    space: SearchSpace
    baseline: PipelineConfig
    """Its values are among the choices."""
    with_models: bool
    """Whether models vary, too; else a module keeps the one that most of its members have."""
    judge: Callable[[], str]
    """The label of the model that judges where an aggregator names none."""
    partners: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By module, the models that may be mixed in."""
    takes: Callable[[str, Knob, Any], bool] = lambda label, knob, value: True
    """Whether a value of a knob changes what a model is asked."""

    def suggest(self, trial: Trial, base: PipelineConfig) -> PipelineConfig | None:
        """A config drawn by the trial; None if its values make no sense together."""
        modules = {}
        for name, own in base.modules.items():
            drawn = self._setting(partial(_drawn, trial), name, own, with_params=True)
            if drawn is None:
                return None
            modules[name] = drawn
        config = PipelineConfig(modules=modules)
        return config if self.makes_sense(config) else None

    def listed(self, base: PipelineConfig, most: int) -> list[PipelineConfig]:
        """All configs of the space, if there are at most `most`.

        Else those that differ from the base in one module, if these are no more; else none.
        """
        params = (each for of_module in self.space.params.values() for each in of_module.values())
        if not all(isinstance(choices, tuple) for choices in params):  # some have a distribution
            return []
        options = {name: self.options(name, own) for name, own in base.modules.items()}
        if math.prod(map(len, options.values())) <= most:
            return list(self.every_config(base))
        if sum(map(len, options.values())) > most:
            return []
        changed = (base.with_module(name, each) for name in options for each in options[name])
        return [config for config in changed if self.makes_sense(config)]

    def networks(self, base: PipelineConfig) -> list[PipelineConfig]:
        """The base with each of the networks that the user lists for one of its modules."""
        listed = self.space.network_choices().items()
        made = [
            base.with_module(name, base.modules[name].with_network(network))
            for name, networks in listed
            for network in networks
        ]
        return [config for config in made if self._fits(config)]

    def every_config(self, base: PipelineConfig) -> Iterator[PipelineConfig]:
        """All configs of the space, where no parameter has a distribution of Optuna's."""
        for mix in product(*(self.options(name, own) for name, own in base.modules.items())):
            config = PipelineConfig(modules=dict(zip(base.modules, mix, strict=True)))
            if self.makes_sense(config):
                yield config

    def options(self, name: str, own: ModuleConfig) -> list[ModuleConfig]:
        """Every setting of one module, each once; aggregators with their default parameters."""
        made = _for_all_choices(lambda choose: self._setting(choose, name, own, with_params=False))
        return list({each.model_dump_json(): each for each in made if each is not None}.values())

    def makes_sense(self, config: PipelineConfig) -> bool:
        """Whether the config fits the pipeline, and a cheaper one may give other answers."""
        return not any(map(_is_redundant, config.modules.values())) and self._fits(config)

    def aggregations(self, name: str) -> dict[str, AggregatorConfig]:
        """The aggregators that a module may have, by their text, but for those that are learned."""
        return {
            aggregation_text(ModuleConfig(width=2, aggregator=each)): with_judge(each, self.judge())
            for each in self.space.of("aggregator", name)
            if _named(each) != "route"
        }

    def routes(self, name: str) -> list[Mapping[str, Any]]:
        """The parameters that the space gives routes of a module; empty if it may have none."""
        given = self.space.of("aggregator", name)
        return [
            each.params if isinstance(each, AggregatorConfig) else {}
            for each in given
            if _named(each) == "route"
        ]

    def _fits(self, config: PipelineConfig) -> bool:
        try:
            check_config(self.pipeline.modules, config, None)
        except PipelineError:
            return False
        return True

    def _setting(
        self, choose: Choose, name: str, own: ModuleConfig, *, with_params: bool
    ) -> ModuleConfig | None:
        """One setting of a module; None if its values make no sense together.

        Args:
            choose: makes every choice.
            name: of the module.
            own: what stays where there is no choice.
            with_params: whether to choose aggregators' parameters too.
        """
        if not own.models:
            choices = self.space.params.get(name, {})
            chosen = {param: choose(f"{name}.{param}", each) for param, each in choices.items()}
            return own.model_copy(update={"params": {**own.params, **chosen}})
        label = choose(f"{name}.model", self._labels(name, own))
        temperature = choose(f"{name}.temperature", self._temperatures(name, label))
        effort = choose(f"{name}.reasoning_effort", self._efforts(name, label))
        forms = self._choices("reply_format", name, [self.baseline.modules[name].reply_format])
        form = choose(f"{name}.reply_format", forms)
        own = _with_settings(own, temperature, effort).with_knobs(reply_format=form)
        prompts = (None, *dict.fromkeys(self.space.instructions.get(name, ())))
        if (text := choose(f"{name}.instructions", prompts)) is not None:
            own = own.with_knobs(instructions=text)
        return self._network(choose, name, own, label, with_params=with_params)

    def _network(
        self, choose: Choose, name: str, own: ModuleConfig, label: str, *, with_params: bool
    ) -> ModuleConfig | None:
        """The module with members that have these settings, and an aggregator."""
        widths, aggregations = self._sampled_widths(name), self.aggregations(name)
        if own.temperature == 0 or not aggregations:  # at 0 members of one model agree
            widths = tuple(width for width in widths if width == 1)
        if not widths:
            return None
        width = choose(f"{name}.width", widths)
        if width == 1:
            return own.with_members((label,), None)
        given = aggregations[choose(f"{name}.aggregator", tuple(aggregations))]
        if with_params:
            given = _with_params(choose, given, f"{name}.{given.name}.")
        mixes = self._mixes(name, label, width, given)
        if not mixes:
            return None
        knob = f"{name}.second" if None in mixes else f"{name}.{given.name}.first"
        return own.with_members(mixes[choose(knob, tuple(mixes))], given)

    def _mixes(
        self, name: str, label: str, width: int, aggregation: AggregatorConfig
    ) -> dict[str | None, tuple[str, ...]]:
        """The members by the model that is mixed in; None is for members all alike.

        A cascade can't use members that are all alike: there the other model comes first. Where
        models must be distinct there is one mix, of the label and the best others.
        """
        module, alike = self.pipeline.module(name), (label,) * width
        partners = self.partners.get(name, ())
        try:
            check_aggregator(ModuleConfig().with_members(alike, aggregation), module)
            leads = True
        except PipelineError:
            leads = False
        if self.space.distinct(name):
            others = tuple(other for other in partners if other != label)[: width - 1]
            mix = (label, *others) if leads else (*others, label)
            return {None: mix} if len(mix) == width else {}
        if not leads:
            return {other: (other,) * (width - 1) + (label,) for other in partners}
        return {None: alike} | {other: (*alike[1:], other) for other in partners}

    def _sampled_widths(self, name: str) -> tuple[int, ...]:
        """The widths that need no prediction: up to a few, or else the smallest above 1."""
        given = self.space.of("width", name) or (1,)
        most = max(SAMPLED, min((width for width in given if width > 1), default=1))
        return tuple(width for width in given if width <= most)

    def _labels(self, name: str, own: ModuleConfig) -> tuple[str, ...]:
        if not self.with_models:
            return (Counter(own.labels).most_common(1)[0][0],)
        return self._choices("models", name, self.baseline.modules[name].labels)

    def _temperatures(self, name: str, label: str) -> tuple[float | None, ...]:
        own = self.baseline.modules[name].temperature
        if not self.takes(label, "temperature", 0.0):
            return (own or None,)  # so that it is not taken to be greedy
        return self._choices("temperature", name, [own])

    def _efforts(self, name: str, label: str) -> tuple[str | None, ...]:
        own = self.baseline.modules[name].params.get("reasoning_effort")
        choices = self._choices("reasoning_effort", name, [own])
        takes = partial(self.takes, label, "reasoning_effort")
        return tuple(effort for effort in choices if effort in (own, None) or takes(effort))

    def _choices(self, knob: str, name: str, own: Sequence[Any]) -> tuple[Any, ...]:
        """The same in every trial, as Optuna wants it: the baseline's, and the space's."""
        return tuple(dict.fromkeys([*own, *self.space.of(knob, name)]))


def _named(given: str | AggregatorConfig) -> str:
    return given if isinstance(given, str) else given.name


def with_all_params(given: AggregatorConfig) -> Iterator[AggregatorConfig]:
    """The aggregator with every combination of the parameters that it has choices for."""
    return _for_all_choices(lambda choose: _with_params(choose, given))


def _with_params(choose: Choose, given: AggregatorConfig, prefix: str = "") -> AggregatorConfig:
    chosen = {
        param: choose(f"{prefix}{param}", tuple(values))
        for param, values in aggregator(given).choices.items()
        if param not in given.params
    }
    return given.model_copy(update={"params": {**given.params, **chosen}})


def _with_settings(
    own: ModuleConfig, temperature: float | None, effort: str | None
) -> ModuleConfig:
    params = {k: v for k, v in own.params.items() if k != "reasoning_effort"}
    if effort is not None:
        params["reasoning_effort"] = effort
    return own.with_knobs(temperature=temperature, params=params)


def _is_redundant(module: ModuleConfig) -> bool:
    """Whether fewer members give the same answers.

    Equal members agree at temperature 0. A vote of two takes the first, or the one with the larger
    weight.
    """
    if module.width == 1:
        return False
    members = module.resolved_members
    greedy = all(member == members[0] and member.temperature == 0 for member in members)
    votes = module.aggregation is not None and module.aggregation.name == "majority_vote"
    return greedy or (votes and module.width == 2)


def _for_all_choices(make: Callable[[Choose], T]) -> Iterator[T]:
    """The results of `make` for every possible sequence of choices, depth first."""
    places: list[int] = []
    while True:
        sizes: list[int] = []

        def choose(_name: str, choices: Any, sizes: list[int] = sizes) -> Any:
            if len(sizes) == len(places):
                places.append(0)
            sizes.append(len(choices))
            return choices[places[len(sizes) - 1]]

        yield make(choose)
        while places and places[-1] == sizes[len(places) - 1] - 1:
            places.pop()
        if not places:
            return
        places[-1] += 1


def _drawn(trial: Trial, name: str, choices: Any) -> Any:
    """A value of one knob; Optuna is not asked where there is only one."""
    if isinstance(choices, IntDistribution | FloatDistribution):
        whole = isinstance(choices, IntDistribution)
        suggest: Callable[..., float] = trial.suggest_int if whole else trial.suggest_float
        return suggest(name, choices.low, choices.high, step=choices.step, log=choices.log)
    listed = choices if isinstance(choices, tuple) else tuple(choices.choices)
    if len(listed) == 1:
        return listed[0]
    if all(isinstance(choice, _PLAIN) for choice in listed):
        return trial.suggest_categorical(name, listed)
    by_text = {canonical_json(choice): choice for choice in listed}
    return by_text[trial.suggest_categorical(name, tuple(by_text))]
