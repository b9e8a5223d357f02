"""A cascade: a cheap model three times, and a stronger one only where these disagree.

    python examples/cascade.py sim/larch sim/fir
    python examples/cascade.py openai/gpt-4o-mini openai/gpt-4o --usd 2

The search compares cascades of these two, and what else it comes upon, with each alone, and takes
the cheapest that comes within three points of the better one alone. The tuned pipeline tells with
every answer how far its members agreed; it is saved in the working folder, as tuned.yaml.
"""

from __future__ import annotations

import argparse

from optimizer import Budget, Module, Objective, Pipeline, SearchSpace, optimize
from pipelines.providers.simulated import simulated_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cheap", help="litellm name of the model that is asked first")
    parser.add_argument("strong", help="of the one that is asked in doubt")
    parser.add_argument("--usd", type=float, default=1.0, help="most dollars (1)")
    options = parser.parse_args()

    pipeline = Pipeline(
        "sums", [Module("solve", "question -> answer", model=options.strong, temperature=0.7)]
    )
    cascades = [
        f"{width}x {options.cheap} + 1x {options.strong} -> cascade(agreement={share})"
        for width, share in ((2, 1.0), (3, 0.6), (3, 1.0))
    ]
    result = optimize(
        pipeline,
        simulated_dataset("arithmetic", 140),
        [options.strong, options.cheap],
        objective=Objective(within=0.03, of="single_model"),
        search_space=SearchSpace(width=(1, 3), temperature=(0.7,), network=tuple(cascades)),
        stages="structure",
        budget=Budget(usd=options.usd),
    )
    print(result)
    prediction = result.pipeline(question="Compute 17 * 23 - 5")
    print(f"{prediction.answer} (confidence {prediction.confidence:.2f})")
    result.save("tuned.yaml")
    print("saved: tuned.yaml")


if __name__ == "__main__":
    main()
