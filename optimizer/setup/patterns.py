"""Several pipelines for one task, checked before they are raced against each other."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluators.dataset import Dataset
from optimizer.setup.plan import Plan, check_kind, prepare
from pipelines import Module, Pipeline
from search_spaces import PipelineConfig, SearchSpace, SearchSpaceError
from search_spaces.refusals import nearest

RULE = "optimize([...]) races pipelines of modules, such as [locate_solve(), self_refine()]"


def prepare_all(given: Any, dataset: Any, *arguments: Any, **named: Any) -> list[Plan]:
    """The plan of a pipeline, or one for each of a list, the first of which is the baseline.

    Arguments are those of `prepare`.

    Raises:
        ValueError: names the value, the rule and the nearest valid choice.
    """
    if not isinstance(given, list | tuple) or (given and isinstance(given[0], Module | Mapping)):
        return [prepare(given, dataset, *arguments, **named)]
    pipelines = _distinct(given)
    if named.get("start") is not None:
        raise ValueError("start goes on with one pipeline: give that one alone, not a list")
    space = named.pop("search_space", None)
    check_kind(space, SearchSpace)
    space = space or SearchSpace()
    _check_names(space, {m.name for pipeline in pipelines for m in pipeline.modules})
    data = Dataset.load(dataset, minimum=1 if named.get("holdout") == 0 else 2)
    plans: list[Plan] = []
    for pipeline in pipelines:
        own = _of_modules(space, {module.name for module in pipeline.modules})
        try:
            plans.append(prepare(pipeline, data, *arguments, search_space=own, **named))
            named["budget"] = None  # it must do for the first; one that is too expensive can't win
        except ValueError as error:
            error.add_note(f"(of the pipelines, this is about {pipeline.name!r})")
            raise
    return _alike(plans)


def _distinct(given: Sequence[Any]) -> list[Pipeline]:
    """The pipelines, with distinct names of modules: those of the first stay."""
    if not given:
        raise ValueError(f"{RULE}, but got an empty list")
    pipelines: list[Pipeline] = []
    taken: set[str] = set()
    for each in given:
        if not isinstance(each, Pipeline):
            shown = " ".join(repr(each).split())[:100]
            raise ValueError(f"{RULE}, but got {shown}; DSPy programs and functions go alone")
        if any(each.name == other.name for other in pipelines):
            raise ValueError(f"pipelines must have distinct names, but two are {each.name!r}")
        first = pipelines[0] if pipelines else each
        if {*each.outputs} != {*first.outputs}:
            raise ValueError(
                f"pipelines must have the same outputs, but {first.name!r} has "
                f"{[*first.outputs]} and {each.name!r} {[*each.outputs]}; "
                "Pipeline(..., outputs=[...]) says which fields are"
            )
        pipelines.append(_renamed(each, taken))
        taken |= {module.name for module in pipelines[-1].modules}
    return pipelines


def _renamed(pipeline: Pipeline, taken: Collection[str]) -> Pipeline:
    """A copy in which modules whose names are taken are called `solve_` and the pipeline's name."""
    suffix = re.sub(r"\W+", "_", pipeline.name)
    names = {m.name: f"{m.name}_{suffix}" if m.name in taken else m.name for m in pipeline.modules}
    config = pipeline.config and PipelineConfig(
        modules={names[name]: module for name, module in pipeline.config.modules.items()}
    )
    modules = [replace(module, name=names[module.name]) for module in pipeline.modules]
    return replace(pipeline, modules=modules, config=config)


def _check_names(space: SearchSpace, names: Collection[str]) -> None:
    for knob, choices in space:
        for name in choices if isinstance(choices, dict) else ():
            if name not in names:
                raise SearchSpaceError(
                    f"search_space, {knob}: {name!r} is a module of none of the pipelines"
                    f"{nearest(name, names)}"
                )


def _of_modules(space: SearchSpace, names: Collection[str]) -> SearchSpace:
    """A copy with what it says of these modules, and of all."""
    by_module = {knob: choices for knob, choices in space if isinstance(choices, dict)}
    kept = {
        knob: {name: own for name, own in choices.items() if name in names}
        for knob, choices in by_module.items()
    }
    return space.model_copy(update=kept)


def _alike(plans: Sequence[Plan]) -> list[Plan]:
    """The plans with all models, each set against the first.

    Raises:
        ValueError: they have other examples, or a label stands for two models.
    """
    first, models = plans[0], dict(plans[0].models)
    for plan in plans[1:]:
        if [plan.search.digest, plan.holdout.digest] != [first.search.digest, first.holdout.digest]:
            raise ValueError(
                f"pipelines must be scored on the same examples, but {plan.pipeline.name!r} would "
                f"have others than {first.pipeline.name!r}: some are equal in what one of them "
                "reads, or are its demos; leave these out"
            )
        for label, model in plan.models.items():
            if models.setdefault(label, model) != model:
                raise ValueError(
                    f"a label must stand for one model, but {label!r} of {plan.pipeline.name!r} is "
                    "another one than before; give it another label"
                )
    first = replace(first, models=models)
    others = (
        replace(plan, models=models, budget=first.budget, against=first) for plan in plans[1:]
    )
    return [first, *others]
