"""`demo` and `init FOLDER`: a search on simulated models, and files to start from."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from pathlib import Path

FIRST_DRAFT = "sim/hazel"
"""Middling at both tasks; the baseline's model in both modules."""

ROWS = 10
SCRIPT = '''"""Tunes pipeline.yaml on data.jsonl, and saves tuned.yaml and report.html."""

from pathlib import Path

from optimizer import Budget, Pipeline, optimize

HERE = Path(__file__).parent

# Change these two lines: your models (litellm's names), and your labelled rows. The simulated
# models need no key and cost nothing; ten rows show how it goes, a few hundred tell which is best.
MODELS = ["sim/hazel", "sim/alder", "sim/birch"]
DATA = HERE / "data.jsonl"

if __name__ == "__main__":
    pipeline = Pipeline.load(HERE / "pipeline.yaml")
    # without `stages`, the structure of modules and their prompts are tuned, too
    result = optimize(pipeline, DATA, MODELS, stages="allocation", budget=Budget(usd=1))
    print(result)
    result.save(HERE / "tuned.yaml")
    result.report(HERE / "report.html")
'''


def demo(options: argparse.Namespace) -> int:
    """Tune `locate_solve`, and print and save the result."""
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # no stray .env
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

    from optimizer import Budget, locate_solve, optimize
    from optimizer.cli.targets import print_json, writable
    from optimizer.cli.tune import save
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


def init(options: argparse.Namespace) -> int:
    """Write the files; existing files are never overwritten.

    Raises:
        ValueError: one of them is there already; nothing is written then.
    """
    from optimizer import locate_solve
    from optimizer.formatting import command
    from pipelines.providers.simulated import simulated_dataset

    folder = Path(options.folder)
    rows = simulated_dataset("locate_solve", ROWS, seed=0)
    files = {
        "pipeline.yaml": locate_solve().to_yaml(),
        "data.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "tune.py": SCRIPT,
    }
    if folder.is_file():
        raise ValueError(f"FOLDER must be a folder, but {folder} is a file: name another")
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise ValueError(
            f"{folder} has {', '.join(there)} already, which init does not replace: name another "
            "folder, or move them away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    script, pipeline, data = (shlex.quote(str(folder / name)) for name in
                              ("tune.py", "pipeline.yaml", "data.jsonl"))  # fmt: skip
    models = "sim/hazel,sim/alder,sim/birch"
    own = command("compound-optimizer")
    print(
        f"Wrote {', '.join(files)} into {folder}.\n\n"
        f"Run it as it is, with simulated models:\n"
        f"  python {script}\n"
        f"  {own} estimate {pipeline} {data} --models {models}\n\n"
        f"Then change two lines of {script}: MODELS and DATA."
    )
    return 0
