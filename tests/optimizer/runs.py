"""Small searches on simulated models, called directly or behind a server that counts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import optimizer.loop
from benchmarks.loopback import LoopbackServer, Price, Script
from optimizer.loop import optimize
from optimizer.results.result import Result
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import find_model, simulate, simulated_dataset

NAMES = ("alder", "birch", "rowan")
MODELS = tuple(f"sim/{name}" for name in NAMES)
"""The first locates well, the second calculates well, the third does neither."""
ROWS = simulated_dataset("locate_solve", 20, rows=4)
HELD_OUT = 6
"""Of these rows, at the default holdout."""


class Untracked:
    """In the tracker's place: MLflow takes a second or two per run, and has tests of its own."""

    run_id = None
    tracking_uri = ""

    @classmethod
    def start(cls, *_: Any) -> Self:
        return cls()

    def record(self, *_: Any, **__: Any) -> None:
        pass

    best = finish = fail = prompt = module_scores = record


def tune(
    dataset: Any = ROWS,
    models: Any = MODELS,
    *,
    pipeline: Any = None,
    cache: Path | None = None,
    gateway: Gateway | None = None,
    tracked: bool = False,
    stages: Any = "allocation",
    **arguments: Any,
) -> Result:
    """`optimize`, by default with a cache of its own, and without MLflow."""
    with contextlib.ExitStack() as stack:
        if gateway is None:
            gateway = Gateway(cache, retries=1, backoff_s=0.001)
            stack.callback(gateway.close)
        if not tracked:
            stack.enter_context(patch.object(optimizer.loop, "Tracker", Untracked))
        result: Result = optimize(
            pipeline or locate_solve(), dataset, models, gateway=gateway, stages=stages, **arguments
        )
        return result


def outcome(result: Result) -> str:
    """All of a result that may not depend on time or on what was cached, to the last digit."""
    trials = [
        replace(trial, latency_s=0.0, latency_p95_s=0.0, seconds=0.0, seconds_by_module={})
        for trial in result.trials_
    ]
    figures = (result.tuned_figures, result.baseline_figures, result.single_model_figures)
    spent = result.spent.by_purpose
    message = {
        "config": result.config.canonical_json(),
        "figures": [f and replace(f, latency_s=0.0, latency_p95_s=0.0) for f in figures],
        "gains": [result.gain, result.gain_over_single],
        "trials": trials,
        "agreement": result.diagnoser,
        "module_scores": result.module_scores_,
        "probes": result.probes_,
        "spent": {name: each for name, each in spent.items() if name != "check"},  # once, or twice
        "held_out": result.held_out,
    }
    return json.dumps(message, default=repr, indent=1)


@contextlib.contextmanager
def counting_server(script: Script | None = None, **options: Any) -> Iterator[LoopbackServer]:
    """The simulated models behind real HTTP, at their prices."""
    with LoopbackServer(script, reply=simulated_reply, prices=PRICES, **options) as server:
        yield server


def served_models(server: LoopbackServer, **fields: Any) -> list[Model]:
    """The server's models, under the simulated models' bare names."""
    return [served_model(server.url, name, **fields) for name in NAMES]


def served_model(url: str, name: str, provider: str = "openai", **fields: Any) -> Model:
    """Asked directly, or by another provider's name through litellm."""
    price = PRICES[name]
    fields = {"max_tokens": 300, **fields}
    return Model(
        f"{provider}/{name}", name, url, input_usd_per_million=price.input,
        output_usd_per_million=price.output, **fields,
    )  # fmt: skip


def simulated_reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    model = find_model(params["model"])
    return simulate(
        model, messages, temperature=params.get("temperature"), seed=params.get("seed") or 0
    ).text


PRICES = {
    name: Price(find_model(name).input_usd_per_million, find_model(name).output_usd_per_million)
    for name in NAMES
}
