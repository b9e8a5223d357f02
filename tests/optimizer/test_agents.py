"""Agents that call tools or look at images are tuned as they stand; `examples/` has them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import LoopbackServer, Price
from optimizer import Budget
from tests.launching import REPOSITORY
from tests.optimizer.runs import tune

KINDS = ("openai", "langgraph", "images")
MOST_USD = 0.5


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(REPOSITORY / "examples"))
    return importlib.import_module("agents_with_tools")


@pytest.mark.parametrize("kind", KINDS)
def test_the_better_model_is_found_and_found_again_for_nothing(
    kind: str, agents: Any, tmp_path: Path
) -> None:
    if kind == "langgraph":
        pytest.importorskip("langgraph", reason="langgraph is in the dev extra")
    prices = {"small": Price(0.1, 0.4), "large": Price(0.2, 0.8)}
    with LoopbackServer(reply=agents.play, prices=prices) as server:
        pipeline, rows = agents.task(kind)
        budget = Budget(usd=MOST_USD, calls=300)
        models = agents.made_up_models(server.url)
        same: Any = {"pipeline": pipeline, "cache": tmp_path, "budget": budget}
        first = tune(rows, models, **same)
        paid = server.requests
        assert 0 < server.usd <= first.spent.paid_now_usd * (1 + 1e-9) <= MOST_USD
        again = tune(rows, models, **same, concurrency=2)
        assert (server.requests, again.spent.paid_now_calls) == (paid, 0)
    assert first.config.single_model == "large"
    assert again.config == first.config
    assert (first.baseline.mean, first.score.mean) == (again.baseline.mean, again.score.mean)
    assert first.baseline.mean < first.score.mean == 1.0
