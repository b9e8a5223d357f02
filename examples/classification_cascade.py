"""A cascade for classification, on recorded answers of real models: what it saves, what it costs.

    python examples/classification_cascade.py mmlu_pro_recorded.jsonl.gz --examples 2000

Two small models answer, and a strong one only where they differ; beside it a vote of three small
models, and the strong one alone. Nothing is searched, and no model is called: the recording is a
file as docs/recorded-models.md describes.
"""

from __future__ import annotations

import argparse

from optimizer import Budget, Gateway, Model, Module, Pipeline
from pipelines.providers.recorded import recorded_dataset

PRICES = {
    "Meta-Llama-3.1-70B-Instruct": 0.88,
    "Meta-Llama-3.1-8B-Instruct": 0.18,
    "mathstral-7B": 0.20,
    "Phi-3-mini-4k-instruct": 0.10,
}
"""Dollars per million tokens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", help="questions with the answers of these models")
    parser.add_argument("--examples", type=int, default=500, help="how many questions (500)")
    options = parser.parse_args()

    strong, llama, mathstral, phi = PRICES
    networks = {
        "strong": strong,
        "vote": f"1x {llama} + 1x {mathstral} + 1x {phi} -> majority_vote",
        "cascade": f"1x {llama} + 1x {mathstral} + 1x {strong} -> cascade(steps=[2, 1])",
    }
    models = {
        name: Model(
            f"recorded/{name}", name, params={"recording": options.recording},
            input_usd_per_million=price, output_usd_per_million=price,
        )
        for name, price in PRICES.items()
    }  # fmt: skip
    rows = recorded_dataset(options.recording)[: options.examples]
    session = Gateway(None).session("cascade", Budget(calls=10 * len(rows)))
    for name, network in networks.items():
        pipeline = Pipeline(name, [Module("solve", "question -> answer", model=network)])
        program = pipeline.bind(pipeline.default_config(), models, session)
        traces = [program.run(row) for row in rows]
        right = sum(
            trace.outputs is not None and trace.outputs["answer"] == row["answer"]
            for trace, row in zip(traces, rows, strict=True)
        )
        asked = sum(call.model == strong for trace in traces for call in trace.calls)
        print(
            f"{name:8} {right / len(rows):6.1%} right  "
            f"${sum(trace.usd for trace in traces) / len(rows):.6f} each  "
            f"strong model asked {asked / len(rows):4.0%}"
        )


if __name__ == "__main__":
    main()
