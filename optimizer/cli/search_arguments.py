"""From options of the command line to the arguments of `optimize`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizer import Budget, Objective, SearchSpace


def search_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `optimize`, by name.

    Raises:
        ValueError: an option does not fit; says the rule.
        OSError: a file can't be read.
    """
    from optimizer import Allocation, Prompts
    from optimizer.cli.targets import load_target

    if options.of == "single_model" and options.pareto:
        raise ValueError("--of single_model does not go with --pareto")
    own = {stage.name: stage for stage in (Prompts(options.prompt_optimizer),
                                           Allocation(options.strategy))}  # fmt: skip
    return {
        "pipeline": load_target(
            options.pipeline, allow_code=options.allow_code, program=options.program
        ),
        "dataset": options.dataset,
        "models": given_models(options),
        "metric": options.metric,
        "budget": given_budget(options),
        "search_space": _search_space(options.search_space) if options.search_space else None,
        "objective": "pareto" if options.pareto else given_objective(options),
        "stages": [own.get(name, name) for name in listed(options.stages)],
        "diagnoser": None if options.diagnoser == "none" else options.diagnoser,
        "holdout": options.holdout,
        "concurrency": options.concurrency,
        "seed": options.seed,
        "experiment": options.experiment,
    }


def given_models(options: argparse.Namespace) -> list[str] | None:
    """The names given by `--models`, in their order; None without any."""
    return [name for part in options.models for name in listed(part)] or None


def given_budget(options: argparse.Namespace) -> Budget | None:
    """The caps that were given; None without any."""
    from optimizer import Budget

    caps = options.budget_usd, options.budget_calls, options.budget_seconds
    return None if caps == (None, None, None) else Budget(*caps)


def given_objective(options: argparse.Namespace) -> Objective:
    """Quality, within the limits that were given."""
    from optimizer import Objective

    return Objective(
        max_cost_usd=options.max_cost_usd,
        max_latency_s=options.max_latency_s,
        max_latency_p95_s=options.max_latency_p95_s,
        within=options.within,
        of=options.of,
    )


def _search_space(path: str) -> SearchSpace:
    """The choices that a YAML file lists by knob."""
    from optimizer import SearchSpace
    from pipelines.files.yaml_text import read_text, read_yaml

    data, _ = read_yaml(read_text(path), path)
    if not isinstance(data, dict) or not all(isinstance(knob, str) for knob in data):
        raise ValueError(
            f"{path} must list choices by knob, such as `width: [1, 3]`, but got {data!r}"
        )
    try:
        return SearchSpace(**data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def listed(text: str) -> list[str]:
    """The names that commas separate."""
    return [name.strip() for name in text.split(",") if name.strip()]
