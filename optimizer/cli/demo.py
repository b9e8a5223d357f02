"""`demo`: the main job on simulated models, without keys, network or money."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

FIRST_DRAFT = "sim/hazel"
"""Middling at both tasks; the baseline's model in both modules."""


def run(options: argparse.Namespace) -> int:
    """Tune `locate_solve`, and print and save the result."""
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # no stray .env
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

    from optimizer import Budget, locate_solve, optimize
    from optimizer.cli.figures import print_json
    from optimizer.cli.optimize import save
    from optimizer.cli.targets import writable
    from optimizer.results.plain_figures import result_figures
    from optimizer.results.summary_text import summary_text
    from pipelines.providers.simulated import MODELS, simulated_dataset

    folder = Path(options.folder)
    tuned, page = (writable("--folder", folder / name) for name in ("tuned.yaml", "report.html"))
    others = (f"sim/{model.name}" for model in MODELS if f"sim/{model.name}" != FIRST_DRAFT)
    print("Tuning a pipeline of two modules with ten simulated models: prices are made up, "
          "and nothing is paid.\n", flush=True)  # fmt: skip
    result = optimize(
        locate_solve(),
        simulated_dataset("locate_solve", options.examples, options.seed),
        [FIRST_DRAFT, *others],
        metric="exact_match",
        budget=Budget(calls=options.calls),
        seed=options.seed,
    )
    print(summary_text(result, shell=True), end="")
    save(result, tuned, page)
    if options.json:
        print_json(result_figures(result), options.stdout)
    return 0
