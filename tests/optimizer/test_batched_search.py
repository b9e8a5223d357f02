"""A search by batch: the same search for less, unless it measures latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from benchmarks.loopback import BatchBehaviour, LoopbackServer, Price
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
from pipelines.gateway.execution import batches
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
        budget=Budget(usd=5),
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
