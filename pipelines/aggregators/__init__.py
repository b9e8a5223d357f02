"""Aggregators: what turns the answers of a wide module's members into one. One file each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping

from pydantic import ValidationError

from pipelines.aggregators.aggregator import Aggregator, Answer, Members, Verdict
from pipelines.aggregators.averages import Mean, Median
from pipelines.aggregators.cascade import Cascade
from pipelines.aggregators.confident_vote import ConfidentVote
from pipelines.aggregators.first_to_finish import FirstToFinish
from pipelines.aggregators.majority_vote import MajorityVote, majority_vote
from pipelines.aggregators.role import Role
from pipelines.aggregators.route import Route
from pipelines.aggregators.selection.best_of import BestOf
from pipelines.aggregators.selection.filter_cluster import FilterCluster
from pipelines.aggregators.selection.filter_vote import FilterVote
from pipelines.aggregators.selection.judge import Judge
from pipelines.aggregators.selection.shortest import Shortest
from pipelines.aggregators.selection.verifier import Verifier
from pipelines.aggregators.shuffled_vote import ShuffledVote
from pipelines.errors import PipelineError
from pipelines.modules.functions import import_function
from pipelines.modules.module import Module
from search_spaces import AggregatorConfig, ModuleConfig
from search_spaces.refusals import nearest

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
    "route": Route,
    "shuffled_vote": ShuffledVote,
    "mean": Mean,
    "median": Median,
}
"""By the name that configs use."""


def aggregator_class(name: str) -> Callable[..., Aggregator]:
    """The class of that name; `"package.module:ClassName"` is one of the user's own. Raises
    PipelineError if there is none, which names the nearest, or if it is no `Aggregator`."""
    if ":" in name:
        return _own_class(name)
    if name not in AGGREGATORS:
        hint = f"{nearest(name, AGGREGATORS)} (aggregators: {', '.join(AGGREGATORS)})"
        raise PipelineError(f"unknown aggregator {name!r}{hint}", ("aggregator",))
    return AGGREGATORS[name]


def _own_class(name: str) -> type[Aggregator]:
    rule = f"aggregator {name!r} must be a class that inherits from pipelines.Aggregator"
    try:
        found = import_function(name)
    except PipelineError as error:
        raise PipelineError(f"{rule}: {error.message}", ("aggregator",)) from error
    if not isinstance(found, type) or not issubclass(found, Aggregator):
        raise PipelineError(f"{rule}, but is {found!r}", ("aggregator",))
    return found


def aggregator(config: str | AggregatorConfig) -> Aggregator:
    """The aggregator with its parameters; raises PipelineError for an unknown name or bad
    parameters."""
    name, params = (config, {}) if isinstance(config, str) else (config.name, config.params)
    made = aggregator_class(name)
    try:
        return _checked(made(**params)) if ":" in name else made(**params)
    except ValidationError as error:
        first = error.errors()[0]
        knob = ".".join(map(str, first["loc"]))
        given = f", but got {first['input']!r}"
        if "unexpected" in first["type"]:
            hint = nearest(knob, parameters(made)) or "; it has none"
            rule = f"there is no such parameter{hint}"
        elif first["type"] == "value_error":  # raised by a check of ours
            rule, given = str(first["ctx"]["error"]), ""
        else:
            rule = first["msg"]
        raise PipelineError(f"{name}: {knob}: {rule}{given}", ("aggregator",)) from error
    except (TypeError, ValueError) as error:  # of a class that is not pydantic's
        known = parameters(made)
        hint = next((nearest(param, known) for param in params if param not in known), "")
        raise PipelineError(f"{name}: {error}{hint}", ("aggregator",)) from error
    except Exception as error:  # a user's class may raise anything
        problem = f"{type(error).__name__}: {error}"
        raise PipelineError(f"{name} cannot be made: {problem}", ("aggregator",)) from error


def _checked(made: Aggregator) -> Aggregator:
    """One of the user's own may have anything for its properties."""
    roles, needed, choices, again = made.roles, made.needed, made.choices, made.asks_again
    if not isinstance(roles, Mapping) or not all(isinstance(r, Role) for r in roles.values()):
        raise PipelineError(f"the property roles must map names to Roles, but got {roles!r}")
    if not isinstance(needed, Collection) or not set(needed) <= roles.keys():
        raise PipelineError(f"the property needed must name some of its roles, but got {needed!r}")
    if not isinstance(choices, Mapping) or not set(choices) <= {*parameters(type(made))}:
        raise PipelineError(
            f"the property choices must map parameters to values, but got {choices!r}"
        )
    if not isinstance(again, int) or again < 0:
        raise PipelineError(f"the property asks_again must be a whole number, but got {again!r}")
    return made


def parameters(made: Callable[..., Aggregator]) -> Collection[str]:
    """The names of an aggregator's parameters."""
    return inspect.signature(made).parameters.keys()


def check_aggregator(config: ModuleConfig, module: Module) -> None:
    """Raises PipelineError unless the config of a wide module has an aggregator that fits its
    members."""
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


__all__ = [
    "AGGREGATORS",
    "Aggregator",
    "Answer",
    "Cascade",
    "ConfidentVote",
    "FirstToFinish",
    "MajorityVote",
    "Members",
    "Route",
    "ShuffledVote",
    "Verdict",
    "aggregator",
    "aggregator_class",
    "check_aggregator",
    "majority_vote",
    "parameters",
]
