"""First to finish, one of five, on log-normal answer lengths: accuracy, seconds and dollars.

    python -m benchmarks first_to_finish [--examples 1000]

A simulated model that thinks aloud; the logarithm of its answers' lengths has a standard deviation
of 1.3. Latency is virtual: the model's time to first token and its time per token. With
cancellation, whoever is cut off costs what it had written until then (`bills_cancelled=False`: the
provider stops charging); without, it is charged in full. Simulated models take 1.7 times as long
over wrong answers, as reasoning models do: that alone makes the quickest answer the better one, so
it is measured without that, too.
"""

from __future__ import annotations

import argparse
import itertools
from typing import NamedTuple

import numpy as np

from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from evaluators.metrics import resolve_metric
from evaluators.statistics import paired_interval
from pipelines import Module, Pipeline
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.concurrency.limits import Limit
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig

SPREAD = 1.3
NETWORKS = (
    "{model}",
    "5x {model} -> first_to_finish",
    "5x {model} -> first_to_finish(count=3)",
    "5x {model} -> majority_vote",
)


class Row(NamedTuple):
    """What one network came to, example by example."""

    scores: np.ndarray
    usd: np.ndarray
    seconds: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000)
    options = parser.parse_args()
    rows = simulated_dataset("arithmetic", options.examples, seed=0)
    for slip_length in (1.7, 1.0):
        register(thinker(slip_length))
    for slip_length, cancellation in itertools.product((1.7, 1.0), (True, False)):
        label = f"sim/{thinker(slip_length).name}"
        print(
            f"wrong answers {slip_length:g} times as long, cancellation "
            f"{'on' if cancellation else 'off'}"
        )
        gateway = Gateway(cache=None, limits={"sim": Limit(bills_cancelled=not cancellation)})
        one = None
        for text in NETWORKS:
            row = run(gateway, label, text.format(model=label), rows)
            one = one or row
            gain = paired_interval(row.scores, one.scores)
            print(
                f"  {text.format(model='model'):45} {100 * row.scores.mean():.1f}% "
                f"({100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}])  "
                f"{row.seconds.mean():6.2f} s ({one.seconds.mean() / row.seconds.mean():.1f}x as "
                f"fast)  ${row.usd.mean():.6f} ({row.usd.mean() / one.usd.mean():.2f} of a call's)"
            )


def thinker(slip_length: float) -> SimulatedModel:
    """A model that thinks aloud, at very different lengths."""
    return SimulatedModel(
        name=f"thinker-{slip_length:g}",
        skills={"arithmetic": 0.7},
        slip_length=slip_length,
        length_spread=SPREAD,
        verbosity=20.0,
        input_usd_per_million=0.1,
        output_usd_per_million=4.0,
    )


def run(gateway: Gateway, label: str, text: str, rows: list[dict[str, str]]) -> Row:
    """One network on all examples."""
    solve = Module("solve", "question -> answer", strategy="chain_of_thought")
    pipeline = Pipeline("thinker", [solve])
    config = PipelineConfig(modules={"solve": parse_network(text, temperature=0.7)})
    models = {label: Model(label, max_tokens=32_000)}
    program = pipeline.bind(config, models, gateway.session(text))
    metric = resolve_metric("exact_match", ("answer",), ("question", "answer"))
    traces = [program.run(row) for row in rows]
    return Row(
        np.array([
            metric(row, trace.outputs).value if trace.outputs else 0.0
            for row, trace in zip(rows, traces, strict=True)
        ]),
        np.array([trace.usd for trace in traces]),
        np.array([trace.latency_s for trace in traces]),
    )  # fmt: skip
