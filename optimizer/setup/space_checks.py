"""Parses the search space's texts into configs, and checks that all of them fit the pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from pipelines import Module, PipelineError, Tunable
from pipelines.aggregators import aggregator, check_aggregator
from pipelines.aggregators.notation import parse_aggregation, parse_network
from pipelines.spec.config_checks import check_config
from search_spaces import (
    AggregatorConfig,
    ModuleConfig,
    PipelineConfig,
    SearchSpace,
    SearchSpaceError,
)
from search_spaces.refusals import nearest
from search_spaces.space import check_model


def resolve(space: SearchSpace) -> SearchSpace:
    """The space with networks and aggregators in the short notation turned into configs."""
    return space.model_copy(
        update={
            "network": _parsed(space.network, parse_network, "network"),
            "aggregator": _parsed(space.aggregator, parse_aggregation, "aggregator"),
        }
    )


def check_space(
    space: SearchSpace, pipeline: Tunable, baseline: PipelineConfig, labels: Collection[str]
) -> None:
    """Check that all networks, aggregators and parameters fit their modules.

    Raises:
        SearchSpaceError: names the module, the choice and the rule.
    """
    for module, networks in space.network_choices().items():
        for network in networks:
            _check_known(network, labels, f"network of module {module!r}")
            whole = baseline.modules[module].with_network(network)
            _check(pipeline, baseline, module, whole, labels, "network")
    for asking in pipeline.llm_modules:
        widths = space.of("width", asking.name)
        if not widths:
            raise SearchSpaceError(
                f"search_space gives module {asking.name!r} no width to choose; (1,) asks it once"
            )
        if "width" not in asking.knobs:
            _check_asked_once(space, asking.name)
        for aggregation in space.of("aggregator", asking.name):
            if isinstance(aggregation, AggregatorConfig):
                _check_roles(aggregation, asking.name, labels)
            _check_fits(aggregation, asking, widths)
    for name, texts in space.instructions.items():
        for text in texts:
            changed = baseline.modules[name].model_copy(update={"instructions": text})
            _check(pipeline, baseline, name, changed, labels, "instructions")
    for name, params in space.params.items():
        for param, choices in params.items():
            if isinstance(choices, tuple) and not choices:
                raise SearchSpaceError(f"search_space gives {name}.{param} nothing to choose")
            _check_written(choices, f"{name}.{param}")
            own = baseline.modules[name]
            value = choices[0] if isinstance(choices, tuple) else None
            changed = own.model_copy(update={"params": {**own.params, param: value}})
            _check(pipeline, baseline, name, changed, labels, "params")


def _check_asked_once(space: SearchSpace, module: str) -> None:
    """Modules whose calls plain Python makes can't have several members."""
    wide = [width for width in space.of("width", module) if width > 1]
    for knob, choices in (("width", wide), ("aggregator", space.of("aggregator", module))):
        if choices:
            raise SearchSpaceError(
                f"search_space, {knob}: module {module!r} has none, since the calls are made by "
                f"plain Python, but got {choices[0]!r}; have the code ask several times"
            )


def _check_written(choices: Any, place: str) -> None:
    """Configs are saved, so JSON must have a form for their values."""
    for choice in choices if isinstance(choices, tuple) else ():
        try:
            to_jsonable_python(choice)
        except PydanticSerializationError:
            raise SearchSpaceError(
                f"search_space, params: {place} must be something that JSON can write, but got "
                f"{choice!r}; let the function make it of a name"
            ) from None


def named_models(space: SearchSpace) -> Iterator[str]:
    """The labels that networks and aggregators of the space name themselves."""
    networks = [n for networks in space.network_choices().values() for n in networks]
    choices = space.aggregator if isinstance(space.aggregator, dict) else {}
    for aggregations in choices.values():
        for aggregation in aggregations:
            if isinstance(aggregation, AggregatorConfig):
                networks.extend(aggregation.modules.values())
    for network in networks:
        for _, module in network.walk(""):
            yield from module.models


def _parsed(choices: Any, parse: Callable[[str], Any], place: str) -> Any:
    if isinstance(choices, dict):
        of = f"{place} of module"
        return {name: _parsed(given, parse, f"{of} {name!r}") for name, given in choices.items()}
    if choices is None:
        return None
    with _at(place):
        return tuple(parse(choice) if isinstance(choice, str) else choice for choice in choices)


@contextlib.contextmanager
def _at(place: str) -> Iterator[None]:
    """Within it, errors name this place in the search space."""
    try:
        yield
    except PipelineError as error:
        raise SearchSpaceError(f"search_space, {place}: {error}") from error


def _check(
    pipeline: Tunable,
    baseline: PipelineConfig,
    module: str,
    changed: ModuleConfig,
    labels: Collection[str],
    knob: str,
) -> None:
    config = baseline.with_module(module, changed)
    with _at(f"{knob} of module {module!r}"):
        check_config(pipeline.modules, config, labels)


def _check_fits(given: str | AggregatorConfig, module: Module, widths: Sequence[int]) -> None:
    """At least one of the widths must fit the aggregator, with members of two models."""
    aggregation, wide = with_judge(given, "any"), [width for width in widths if width > 1]
    errors = []
    for width in wide:
        members = ("any",) * (width - 1) + ("other",)
        try:
            check_aggregator(ModuleConfig().with_members(members, aggregation), module)
        except PipelineError as error:
            errors.append(error)
    if wide and len(errors) == len(wide):
        raise SearchSpaceError(
            f"search_space, aggregator of module {module.name!r}: none of the widths {wide} fits "
            f"{aggregation.name!r}: {errors[0]}"
        ) from errors[0]


def with_judge(given: str | AggregatorConfig, label: str) -> AggregatorConfig:
    """The aggregator with this model in the needed roles that it leaves open."""
    config = AggregatorConfig(name=given) if isinstance(given, str) else given
    missing = [role for role in aggregator(config).needed if role not in config.modules]
    judge = {role: ModuleConfig(models=(label,)) for role in missing}
    return config.model_copy(update={"modules": {**judge, **config.modules}})


def _check_roles(aggregation: AggregatorConfig, module: str, labels: Collection[str]) -> None:
    place = f"aggregator {aggregation.name!r} of module {module!r}"
    with _at(place):
        roles = aggregator(aggregation).roles
    for role, consulted in aggregation.modules.items():
        if role not in roles:
            hint = nearest(role, roles) or "; it asks no model"
            raise SearchSpaceError(f"search_space, {place}: unknown role {role!r}{hint}")
        _check_known(consulted, labels, place)


def _check_known(network: ModuleConfig, labels: Collection[str], place: str) -> None:
    """All models and aggregators that the network names, at any depth, must be known."""
    for _, module in network.walk(""):
        if module.aggregation is not None:
            with _at(place):
                aggregator(module.aggregation)
        for label in module.models:
            check_model(label, labels, place)
