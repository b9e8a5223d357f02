"""Tune a pipeline of two modules over the models that you name.

    python examples/locate_solve.py sim/hazel sim/alder sim/birch
    python examples/locate_solve.py openai/gpt-4o-mini anthropic/claude-haiku-4-5 --usd 1

The first line needs no keys. The second needs OPENAI_API_KEY and ANTHROPIC_API_KEY, and spends at
most a dollar. The dataset is small, for the sake of its size; a few hundred rows tell more. The
tuned pipeline is saved in the working folder, as tuned.yaml.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from optimizer import Budget, Module, Pipeline, optimize

HERE = Path(__file__).parent

pipeline = Pipeline(
    name="locate-solve",
    modules=[
        Module(
            "locate",
            "table, question -> task",
            instructions="Extract the task whose ID is asked for.",
        ),
        Module("solve", "task -> answer"),
    ],
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="litellm names; the first one is the baseline")
    parser.add_argument("--dataset", default=HERE / "locate_solve.jsonl", help="labelled rows")
    parser.add_argument("--usd", type=float, default=1.0, help="most dollars (1)")
    parser.add_argument("--calls", type=int, default=5000, help="most calls (5000)")
    options = parser.parse_args()

    result = optimize(
        pipeline,
        options.dataset,
        options.models,
        metric="exact_match",
        budget=Budget(usd=options.usd, calls=options.calls),
    )
    print(result)
    result.save("tuned.yaml")
    print("saved: tuned.yaml")


if __name__ == "__main__":
    main()
