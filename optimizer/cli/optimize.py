"""`optimize PIPELINE.yaml DATASET`: the main job on files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines import Pipeline
    from pipelines.llms.model import Model


def optimize_file(options: argparse.Namespace) -> int:
    """Tune the pipeline, print the result and save it.

    Raises:
        ValueError: an argument, the pipeline or the dataset is wrong.
        OSError: a file can't be read or written.
    """
    from optimizer import Budget, Pipeline, optimize
    from optimizer.cli.saving import save

    _check_budget(options)
    pipeline = Pipeline.load(options.pipeline)
    known = {model.label: model for model in pipeline.models}
    diagnoser = None if options.diagnoser == "none" else options.diagnoser
    result = optimize(
        pipeline,
        options.dataset,
        _models(options.models, pipeline, known),
        metric=options.metric,
        budget=Budget(options.budget_usd, options.budget_calls, options.budget_seconds),
        diagnoser=known.get(diagnoser, diagnoser) if diagnoser else None,
        holdout=options.holdout,
        concurrency=options.concurrency,
        seed=options.seed,
        experiment=options.experiment,
    )
    print(result)
    save(result, Path(options.save), Path(options.report) if options.report else None)
    return 0


def _check_budget(options: argparse.Namespace) -> None:
    for name in ("usd", "calls", "seconds"):
        value = getattr(options, f"budget_{name}")
        if value is not None and not value > 0:
            raise ValueError(f"`--budget-{name} > 0` must hold, but got {value}")


def _models(
    given: Sequence[str], pipeline: Pipeline, known: Mapping[str, Model]
) -> list[str | Model]:
    """The models named, those that the pipeline describes with all it says about them."""
    names = [name.strip() for part in given for name in part.split(",") if name.strip()]
    if not names and not known:
        raise ValueError(
            f"--models must name the models to choose from, such as "
            f"--models openai/gpt-4o-mini,anthropic/claude-haiku-4-5: {pipeline.name!r} names none"
        )
    return [known.get(name, name) for name in names] or list(known.values())
