"""Aggregators: what turns the answers of a wide module's members into one. One file each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pipelines.aggregators.aggregator import Aggregator, Answer, Members, Verdict
from pipelines.aggregators.best_of import BestOf
from pipelines.aggregators.cascade import Cascade
from pipelines.aggregators.confident_vote import ConfidentVote
from pipelines.aggregators.filter_cluster import FilterCluster
from pipelines.aggregators.filter_vote import FilterVote
from pipelines.aggregators.first_to_finish import FirstToFinish
from pipelines.aggregators.judge import Judge
from pipelines.aggregators.majority_vote import MajorityVote, majority_vote
from pipelines.aggregators.mean import Mean
from pipelines.aggregators.median import Median
from pipelines.aggregators.shortest import Shortest
from pipelines.aggregators.shuffled_vote import ShuffledVote
from pipelines.aggregators.verifier import Verifier
from pipelines.errors import PipelineError, nearest
from pipelines.functions import import_function

if TYPE_CHECKING:
    from pipelines.module import Module
    from search_spaces import AggregatorConfig, ModuleConfig

AGGREGATORS: Mapping[str, Callable[..., Aggregator]] = {
    "majority_vote": MajorityVote,
    "filter_vote": FilterVote,
    "confident_vote": ConfidentVote,
    "judge": Judge,
    "verifier": Verifier,
    "best_of": BestOf,
    "filter_cluster": FilterCluster,
    "first_to_finish": FirstToFinish,
    "shortest": Shortest,
    "cascade": Cascade,
    "shuffled_vote": ShuffledVote,
    "mean": Mean,
    "median": Median,
}
"""By the name that configs use."""


def aggregator_class(name: str) -> Callable[..., Aggregator]:
    """The class of that name; `"package.module:ClassName"` is one of the user's own.

    Raises:
        PipelineError: there is none; names the nearest.
    """
    if ":" in name:
        return import_function(name)
    if name not in AGGREGATORS:
        hint = nearest(name, AGGREGATORS)
        raise PipelineError(f"unknown aggregator {name!r}{hint}", ("aggregator",))
    return AGGREGATORS[name]


def aggregator(config: str | AggregatorConfig) -> Aggregator:
    """The aggregator with its parameters.

    Raises:
        PipelineError: there is none of that name, or a parameter is missing, unknown or out of
            range.
    """
    name, params = (config, {}) if isinstance(config, str) else (config.name, config.params)
    made = aggregator_class(name)
    try:
        return made(**params)
    except ValidationError as error:
        first = error.errors()[0]
        knob = ".".join(map(str, first["loc"]))
        rule = _unknown(knob, made) if "unexpected" in first["type"] else first["msg"]
        given = f", but got {first['input']!r}"
        raise PipelineError(f"{name}: {knob}: {rule}{given}", ("aggregator",)) from error
    except (TypeError, ValueError) as error:  # of a class that is not pydantic's
        known = parameters(made)
        hint = next((nearest(param, known) for param in params if param not in known), "")
        raise PipelineError(f"{name}: {error}{hint}", ("aggregator",)) from error


def parameters(made: Callable[..., Aggregator]) -> Collection[str]:
    """The names of an aggregator's parameters."""
    return inspect.signature(made).parameters.keys()


def check_aggregator(config: ModuleConfig, module: Module) -> None:
    """Whether the members of a wide module have an aggregator that can work with them.

    Raises:
        PipelineError: there is none, or it does not fit; says the rule.
    """
    aggregation = config.aggregation
    if aggregation is None:
        known = ", ".join(map(repr, AGGREGATORS))
        raise PipelineError(f"width {config.width} needs an aggregator: {known}", ("width",))
    made = aggregator(aggregation)
    for role in aggregation.modules:
        if role not in made.roles:
            hint = nearest(role, made.roles) or "; it asks no model"
            raise PipelineError(f"{aggregation.name} has no role {role!r}{hint}", ("aggregator",))
    for role in made.needed:
        if role not in aggregation.modules:
            raise PipelineError(
                f"{aggregation.name} needs a model for its {role}: as text "
                f"'{aggregation.name}(openai/gpt-4o)', or AggregatorConfig(name="
                f"{aggregation.name!r}, modules={{{role!r}: ModuleConfig(models=(...,))}})",
                ("aggregator",),
            )
    try:
        made.check(config, module)
    except PipelineError as error:
        message = f"{aggregation.name}: {error.message}"
        raise PipelineError(message, ("aggregator",)) from error


def _unknown(parameter: str, made: Callable[..., Aggregator]) -> str:
    hint = nearest(parameter, parameters(made)) or "; it has none"
    return f"there is no such parameter{hint}"


__all__ = [
    "AGGREGATORS",
    "Aggregator",
    "Answer",
    "Cascade",
    "ConfidentVote",
    "FirstToFinish",
    "MajorityVote",
    "Members",
    "ShuffledVote",
    "Verdict",
    "aggregator",
    "aggregator_class",
    "check_aggregator",
    "majority_vote",
    "parameters",
]
