"""A search by batch: the same search for less, unless it measures latency."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from benchmarks.loopback import BatchBehaviour, Behaviour, LoopbackServer, Price
from optimizer import (
    Batch,
    Budget,
    Gateway,
    Limit,
    Model,
    Objective,
    Result,
    evaluate,
    locate_solve,
    optimize,
)
from optimizer.results.plain_figures import result_figures
from optimizer.results.summary_text import summary_text
from pipelines.gateway.execution import batches
from pipelines.gateway.secrets import plain_json
from pipelines.providers.simulated import find_model, simulate, simulated_dataset

ROWS = simulated_dataset("locate_solve", 12, seed=4)
PRICES = {"hazel": Price(1.0, 4.0), "birch": Price(2.0, 8.0)}


def speak(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    return simulate(find_model(params["model"]), messages, seed=params["seed"]).text


def models_of(server: LoopbackServer) -> list[Model]:
    return [
        Model(
            f"openai/{name}",
            api_base=server.url,
            input_usd_per_million=price.input,
            output_usd_per_million=price.output,
        )
        for name, price in PRICES.items()
    ]


def searched(server: LoopbackServer, gateway: Gateway, **settings: Any) -> Result:
    result: Result = optimize(
        locate_solve(),
        ROWS,
        models_of(server),
        budget=Budget(usd=5, seconds=2 * 86_400),
        stages="allocation",
        gateway=gateway,
        concurrency=100,
        **settings,
    )
    return result


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "QUIET_S", 0.3)


@pytest.mark.usefixtures("default_store")
def test_it_takes_the_same_path_for_less() -> None:
    with LoopbackServer(reply=speak, prices=PRICES, batches=BatchBehaviour()) as server:
        direct = searched(server, Gateway(None))
        charged = server.usd
        assert server.batches is not None
        assert not server.batches.sizes
        gateway = Gateway(None, limits={server.url: Limit(batch=Batch(min_calls=6))})
        batched = searched(server, gateway)
        assert server.batches.sizes
        assert min(server.batches.sizes) >= 6
        columns = ["number", "score", "usd_per_example", "nominal_calls", "locate.model"]
        assert direct.trials[columns].equals(batched.trials[columns])
        assert batched.spent.usd == pytest.approx(direct.spent.usd)
        paid = batched.spent.paid_now_usd
        assert paid == pytest.approx(server.usd - charged)
        assert paid < direct.spent.paid_now_usd


def test_latencies_that_nobody_measured_are_unknown_also_when_resumed(
    default_store: str, tmp_path: Path
) -> None:
    direct, batch = Behaviour.slow(0.01), BatchBehaviour()
    with LoopbackServer(direct, reply=speak, prices=PRICES, batches=batch) as server:
        assert server.batches is not None
        limits = {server.url: Limit(batch=Batch(min_calls=1))}
        with closing(Gateway(tmp_path / "cache", limits=limits)) as gateway:
            first = searched(server, gateway)
        sent = list(server.batches.sizes)
        with closing(Gateway(tmp_path / "cache", limits=limits)) as gateway:
            resumed = searched(server, gateway)
        assert server.batches.sizes == sent
    for result in (first, resumed):
        table = summary_text(result).partition("latency")[2].splitlines()
        for row in ("baseline", "best single model", "tuned"):
            assert re.search(rf"^{row} .* n/a ", "\n".join(table), re.MULTILINE)
        result.report(tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert "<dt>latency</dt><dd><b>n/a</b>" in page
        assert "0.00 s" not in summary_text(result) + page
        assert "nan" not in result.plots["cost_and_quality"]
        assert "latency_and_quality" not in result.plots
        figures = json.dumps(plain_json(result_figures(result), str), allow_nan=False)
        assert json.loads(figures)["tuned"]["latency_s"] is None
        assert result.trials["latency_s"].isna().all()
        with pytest.raises(ValueError, match="no point meets the limits"):
            result.pick(max_latency_s=60)
        _check_tracked(result, default_store)
    assert first.pareto.equals(resumed.pareto)


def _check_tracked(result: Result, store: str) -> None:
    assert result.run_id is not None
    client = MlflowClient(store)
    run = client.get_run(result.run_id)
    assert "final/cost_usd" in run.data.metrics
    assert not [name for name in run.data.metrics if "latency_s" in name]
    folder = Path(client.download_artifacts(result.run_id, ""))
    trials = json.loads((folder / "trials.json").read_text())
    assert {trial["latency_s"] for trial in trials} == {None}
    assert not [
        name for name in ("examples.json", "optuna.log") if "NaN" in (folder / name).read_text()
    ]
    traces = client.search_traces(locations=[run.info.experiment_id])
    assert traces
    assert {trace.info.execution_duration for trace in traces} == {None}


@pytest.mark.usefixtures("default_store")
@pytest.mark.parametrize("objective", [Objective(max_latency_s=9.0), "pareto"])
def test_a_search_that_measures_latency_is_never_batched(objective: str | Objective) -> None:
    with LoopbackServer(reply=speak, prices=PRICES, batches=BatchBehaviour()) as server:
        gateway = Gateway(None, limits={server.url: Limit(batch=Batch(min_calls=1))})
        result = searched(server, gateway, objective=objective)
        assert server.batches is not None
        assert not server.batches.sizes
        assert (result.trials["latency_s"] > 0).all()


def test_an_evaluation_is_one_batch_for_each_module() -> None:
    with LoopbackServer(reply=speak, prices=PRICES, batches=BatchBehaviour()) as server:
        gateway = Gateway(None, limits={server.url: Limit(batch=Batch())})
        evaluated = evaluate(
            locate_solve(), ROWS, models=models_of(server)[:1], gateway=gateway, concurrency=100
        )
        assert server.batches is not None
        assert server.batches.sizes == [len(ROWS), len(ROWS)]
        assert evaluated.spent.calls == 2 * len(ROWS) + 1
        assert math.isnan(evaluated.evaluation.latency_s)
        assert math.isnan(evaluated.evaluation.latency_p95_s)
