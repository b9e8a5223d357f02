"""A network of networks: members of two models, and a judge that is itself a vote of three.

    python examples/network_of_networks.py sim/fir sim/larch sim/rowan
    python examples/network_of_networks.py openai/gpt-4o-mini openai/gpt-4.1-nano openai/gpt-4o

Nothing is searched here: a pipeline may start as a network, and runs as any other does. Members and
judge are shown alone, too: often one of them does better than the network, for less.
"""

from __future__ import annotations

import argparse

from optimizer import Budget, Gateway, Module, Pipeline, network_text
from pipelines.gateway.model import Model
from pipelines.providers import check_models
from pipelines.providers.simulated import simulated_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", help="litellm name of two of the members")
    parser.add_argument("second", help="of a third member")
    parser.add_argument("judge", help="of the three that judge by majority")
    parser.add_argument("--examples", type=int, default=40, help="how many questions (40)")
    options = parser.parse_args()

    members = f"2x {options.first} + 1x {options.second}"
    network = f"{members} -> judge(3x {options.judge} -> majority_vote)"
    networks = {
        "first": options.first,
        "judge": options.judge,
        "vote": f"{members} -> majority_vote",
        "judged": network,
    }
    session = Gateway().session("network of networks", Budget(calls=20_000, usd=5))
    rows = simulated_dataset("arithmetic", options.examples, seed=1)
    for name, text in networks.items():
        solve = Module("solve", "question -> answer", model=text, temperature=0.7)
        pipeline = Pipeline(name, [solve])
        config = pipeline.default_config()
        labels = {label for labels in config.allocation.values() for label in labels}
        models = {label: Model(label) for label in labels}
        check_models(models.values())
        program = pipeline.bind(config, models, session)
        traces = [program.run(row) for row in rows]
        right = sum(
            trace.outputs is not None and trace.outputs["answer"] == row["answer"]
            for trace, row in zip(traces, rows, strict=True)
        )
        print(
            f"{name:6}  {right / len(rows):4.0%} right  "
            f"{sum(len(trace.calls) for trace in traces) / len(rows):4.1f} calls  "
            f"{sum(trace.latency_s for trace in traces) / len(rows):.2f} s  "
            f"members agree {sum(trace.confidence for trace in traces) / len(rows):4.0%}  "
            f"{network_text(config.modules['solve'])}"
        )


if __name__ == "__main__":
    main()
