"""What the structure of a module may be: values for its knobs, drawn or listed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from optimizer.setup.space_checks import with_judge
from pipelines import PipelineError, Tunable
from pipelines.aggregators import aggregator, check_aggregator
from pipelines.aggregators.notation import aggregation_text
from pipelines.config_checks import check_config
from pipelines.llms.model_knobs import Knob
from search_spaces import AggregatorConfig, ModuleConfig, PipelineConfig, SearchSpace
from search_spaces.config import canonical_json

if TYPE_CHECKING:
    from optuna.trial import Trial


_PLAIN = (str, int, float, bool, type(None))
"""What Optuna can write down; other choices are known to it by their JSON."""

SAMPLED = 5
"""The widest vote that is tried without a closed form that promises a gain."""


@dataclass(frozen=True)
class Knobs:
    """The structural knobs of a pipeline's modules, and what they may be set to."""

    pipeline: Tunable
    space: SearchSpace
    baseline: PipelineConfig
    """Its values are among the choices."""
    with_models: bool
    """Whether models vary too; else a module keeps the one that most of its members have."""
    judge: Callable[[], str]
    """Who judges where an aggregator names no model."""
    partners: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By module, the models that may be mixed in."""
    has: Callable[[str, Knob], bool] = lambda label, knob: True
    """Whether a model has a knob."""

    def suggest(self, trial: Trial, base: PipelineConfig) -> PipelineConfig | None:
        """A config drawn by the trial; None if its values make no sense together."""
        config = base
        for module in self.pipeline.modules:
            own = config.modules[module.name]
            drawn = self._drawn_llm if module.is_llm else self._drawn_function
            changed = drawn(trial, module.name, own)
            if changed is None:
                return None
            config = PipelineConfig(modules={**config.modules, module.name: changed})
        return config if self.makes_sense(config) else None

    def makes_sense(self, config: PipelineConfig) -> bool:
        """Whether the config fits the pipeline."""
        try:
            check_config(self.pipeline.modules, config, None)
        except PipelineError:
            return False
        return True

    def every_config(self, base: PipelineConfig) -> Iterator[PipelineConfig]:
        """All configs of the space, where no parameter has a distribution of Optuna's."""
        names = list(base.modules)
        options = [list(self.options(name, base.modules[name])) for name in names]
        for mix in itertools.product(*options):
            config = PipelineConfig(modules=dict(zip(names, mix, strict=True)))
            if self.makes_sense(config):
                yield config

    def size(self, base: PipelineConfig) -> float:
        """How many configs there are at most; infinite with a distribution of Optuna's."""
        total = 1.0
        for name, module in base.modules.items():
            if module.models:
                total *= sum(1 for _ in self.options(name, module))
            for choices in self.space.params.get(name, {}).values():
                total *= len(choices) if isinstance(choices, tuple) else float("inf")
        return total

    def options(self, name: str, own: ModuleConfig) -> Iterator[ModuleConfig]:
        """Every setting of one module."""
        if not own.models:
            choices = self._listed(name)
            for values in itertools.product(*choices.values()):
                yield own.model_copy(
                    update={"params": {**own.params, **dict(zip(choices, values, strict=True))}}
                )
            return
        seen = set()
        for label in self._labels(name, own):
            settings = itertools.product(
                self._temperatures(name, label), self._efforts(name, label)
            )
            for temperature, effort in settings:
                for members, aggregation in self._networks(name, label, temperature):
                    made = _module(own, members, temperature, effort, aggregation)
                    if made.model_dump_json() not in seen:
                        seen.add(made.model_dump_json())
                        yield made

    def _listed(self, name: str) -> dict[str, tuple[Any, ...]]:
        """A function's parameters that have a list of choices."""
        given = self.space.params.get(name, {})
        return {param: c for param, c in given.items() if isinstance(c, tuple)}

    def aggregations(self, name: str) -> dict[str, AggregatorConfig]:
        """The aggregators that a module may have, by their text."""
        found = {}
        for given in self.space.of("aggregator", name):
            text = aggregation_text(ModuleConfig(width=2, aggregator=given))
            found[text] = with_judge(given, self.judge())
        return found

    def _drawn_function(self, trial: Trial, name: str, own: ModuleConfig) -> ModuleConfig:
        choices = self.space.params.get(name, {})
        drawn = {param: _drawn(trial, f"{name}.{param}", c) for param, c in choices.items()}
        return own.model_copy(update={"params": {**own.params, **drawn}})

    def _drawn_llm(self, trial: Trial, name: str, own: ModuleConfig) -> ModuleConfig | None:
        label = _drawn(trial, f"{name}.model", self._labels(name, own))
        temperature = _drawn(trial, f"{name}.temperature", self._temperatures(name, label))
        effort = _drawn(trial, f"{name}.reasoning_effort", self._efforts(name, label))
        widths, aggregations = self._sampled_widths(name), self.aggregations(name)
        if temperature == 0 or not aggregations:  # at 0 all members say the same
            widths = tuple(width for width in widths if width == 1)
        if not widths:
            return None
        width = _drawn(trial, f"{name}.width", widths)
        if width == 1:
            return _module(own, (label,), temperature, effort, None)
        text = _drawn(trial, f"{name}.aggregator", tuple(aggregations))
        aggregation = self._with_params(trial, name, aggregations[text])
        mixes = self._mixes(name, label, width, aggregation)
        if not mixes:
            return None
        knob = f"{name}.second" if None in mixes else f"{name}.{aggregation.name}.first"
        second = _drawn(trial, knob, tuple(mixes))
        return _module(own, mixes[second], temperature, effort, aggregation)

    def _mixes(
        self, name: str, label: str, width: int, aggregation: AggregatorConfig
    ) -> dict[str | None, tuple[str, ...]]:
        """The members with each model that may be mixed in; None is for members all alike.

        A cascade can do nothing with members that are all alike: there the other comes first. Where
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

    def _with_params(self, trial: Trial, name: str, given: AggregatorConfig) -> AggregatorConfig:
        """The aggregator with those of its parameters drawn that are worth it and not given."""
        drawn = {
            param: _drawn(trial, f"{name}.{given.name}.{param}", tuple(values))
            for param, values in aggregator(given).choices.items()
            if param not in given.params
        }
        return given.model_copy(update={"params": {**given.params, **drawn}})

    def _sampled_widths(self, name: str) -> tuple[int, ...]:
        """The widths that are tried unasked: up to a few, or else the smallest above 1."""
        given = self.space.of("width", name) or (1,)
        most = max(SAMPLED, min((width for width in given if width > 1), default=1))
        return tuple(width for width in given if width <= most)

    def _labels(self, name: str, own: ModuleConfig) -> tuple[str, ...]:
        if not self.with_models:
            return (Counter(own.labels).most_common(1)[0][0],)
        return self._choices("models", name, self.baseline.modules[name].labels)

    def _temperatures(self, name: str, label: str) -> tuple[float | None, ...]:
        own = self.baseline.modules[name].temperature
        if not self.has(label, "temperature"):
            return (own or None,)  # so that it is not taken to be greedy
        return self._choices("temperature", name, [own])

    def _efforts(self, name: str, label: str) -> tuple[str | None, ...]:
        own = self.baseline.modules[name].params.get("reasoning_effort")
        has = self.has(label, "reasoning_effort")
        return self._choices("reasoning_effort", name, [own]) if has else (own,)

    def _choices(self, knob: str, name: str, own: Sequence[Any]) -> tuple[Any, ...]:
        """The same in every trial, as Optuna wants it: the baseline's, and the space's."""
        return tuple(dict.fromkeys([*own, *self.space.of(knob, name)]))

    def _networks(
        self, name: str, label: str, temperature: float | None
    ) -> Iterator[tuple[tuple[str, ...], AggregatorConfig | None]]:
        """Members and what is made of them, mixed only where members alike won't do."""
        for width in self.space.of("width", name) or (1,):
            if width == 1:
                yield (label,), None
            elif temperature != 0:
                for aggregation in self.aggregations(name).values():
                    mixes = self._mixes(name, label, width, aggregation)
                    for members in [mixes[None]] if None in mixes else mixes.values():
                        yield members, aggregation


def _drawn(trial: Trial, name: str, choices: Any) -> Any:
    """A value of one knob; where there is no choice, Optuna need not know."""
    if not isinstance(choices, tuple):
        return _from(trial, name, choices)
    if len(choices) == 1:
        return choices[0]
    if all(isinstance(choice, _PLAIN) for choice in choices):
        return trial.suggest_categorical(name, choices)
    by_text = {canonical_json(choice): choice for choice in choices}
    return by_text[trial.suggest_categorical(name, tuple(by_text))]


def _from(trial: Trial, name: str, d: Any) -> Any:
    if isinstance(d, IntDistribution):
        return trial.suggest_int(name, d.low, d.high, step=d.step, log=d.log)
    if isinstance(d, FloatDistribution):
        return trial.suggest_float(name, d.low, d.high, step=d.step, log=d.log)
    return _drawn(trial, name, tuple(d.choices))


def _module(
    own: ModuleConfig,
    members: Sequence[str],
    temperature: float | None,
    effort: str | None,
    aggregation: AggregatorConfig | None,
) -> ModuleConfig:
    params = {k: v for k, v in own.params.items() if k != "reasoning_effort"}
    if effort is not None:
        params["reasoning_effort"] = effort
    changed = own.with_members(members, aggregation)
    return changed.model_copy(update={"temperature": temperature, "params": params})
