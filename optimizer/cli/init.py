"""`init FOLDER`: a pipeline, ten rows and a script, which run as they are."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

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


def run(options: argparse.Namespace) -> int:
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
