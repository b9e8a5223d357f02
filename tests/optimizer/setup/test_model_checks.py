"""What only a call can show of a model is found before the search, for all models together."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest
from optimizer.errors import BudgetTooSmall
from optimizer.setup import model_checks
from pipelines.gateway.budget import Budget
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from tests.optimizer.runs import (
    MODELS,
    counting_server,
    outcome,
    served_model,
    served_models,
    tune,
)

NOWHERE = "http://127.0.0.1:9/v1"


class Counted:
    """A script that counts the requests that ask whether a model answers at all."""

    def __init__(self, trouble: Behaviour | None = None) -> None:
        self.trouble = trouble or Behaviour()
        self.checks = 0

    def __call__(self, request: LoopbackRequest) -> Behaviour:
        self.checks += is_check(request)
        return self.trouble if is_check(request) else Behaviour()


def is_check(request: LoopbackRequest) -> bool:
    return bool(request.messages[-1]["content"] == "Reply with the word OK.")


def test_all_broken_models_are_named_in_one_message_before_anything_is_paid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEAM_KEY", "the-wrong-one")
    monkeypatch.setenv("OLLAMA_API_BASE", "http://127.0.0.1:9")

    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error(404) if request.params["model"] == "birch" else Behaviour()

    with counting_server(script) as server, counting_server(api_key="another") as locked:
        models = [
            served_model(server.url, "alder"),
            served_model(server.url, "birch"),
            served_model(locked.url, "rowan", api_key_env="TEAM_KEY"),
            Model("openai/away", api_base=NOWHERE, input_usd_per_million=0.0,
                  output_usd_per_million=0.0),
            Model("hosted_vllm/away", api_base=NOWHERE),
        ]  # fmt: skip
        with pytest.raises(ModelError) as raised:
            tune(models=models, diagnoser="ollama/llama3.2", tracked=True)
        assert server.requests + locked.requests == 1 + 2 * 2, "who refuses is asked again"
        assert server.usd < 0.001
    message = str(raised.value)
    assert message.startswith("5 of 6 models can't be asked, as a first call to each shows:\n")
    for told in (
        rf"  birch at {server.url}: .*404.*{server.url}/models lists the names",
        rf"  rowan at {locked.url}: .*401.*incorrect API key.*it was sent the key in TEAM_KEY",
        rf"  openai/away at {NOWHERE}: .*no connection: does the server run, at this address",
        rf"  hosted_vllm/away at {NOWHERE}: .*Start it: `vllm serve away`.*HOSTED_VLLM_API_BASE",
        r"  as diagnoser: ollama/llama3\.2 at http://127\.0\.0\.1:9: .*Start it: `ollama serve`",
        r"Mend that, or take them out",
    ):
        assert re.search(told, message), told
    assert "the-wrong-one" not in message
    assert not Path("mlruns").exists(), "nothing was begun"


def test_the_search_is_the_same_and_costs_a_call_for_each_model(tmp_path: Path) -> None:
    script = Counted()
    with counting_server(script) as server:
        asked = tune(models=served_models(server), cache=tmp_path)
        assert script.checks == 3
        assert server.requests == asked.spent.calls
        assert asked.spent.paid_now_calls == server.requests
        assert asked.spent.by_purpose["check"].calls == 3
        again = tune(models=served_models(server), cache=tmp_path)
        assert script.checks == 3
        assert again.spent.paid_now_calls == 0
        most = asked.spent.calls - 2
        capped = tune(models=served_models(server), budget=Budget(calls=most), cache=tmp_path)
        assert capped.spent.by_purpose["check"].calls == 3
    assert outcome(again) == outcome(asked)
    assert capped.spent.calls <= most


def test_a_resumed_search_asks_nobody_whether_they_answer(tmp_path: Path) -> None:
    with counting_server() as server:
        models = served_models(server)
        first = tune(models=models, cache=tmp_path)
    assert outcome(tune(models=models, cache=tmp_path)) == outcome(first), "the server is gone"


@pytest.mark.parametrize("budget", [Budget(calls=29), Budget(usd=0.01), Budget(calls=53)])
def test_where_a_tenth_of_the_budget_does_not_pay_for_it_nobody_is_asked(budget: Budget) -> None:
    script = Counted()
    with counting_server(script) as server:
        try:
            tune(models=served_models(server), budget=budget, diagnoser=None)
        except BudgetTooSmall:
            assert server.requests == 0 or budget.usd
    assert script.checks == 0


def test_models_in_this_process_are_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = tune(models=MODELS, budget=Budget(calls=400))
    assert result.spent.paid_now_calls == result.spent.calls


@pytest.mark.parametrize("trouble", [Behaviour.server_error(), Behaviour.rate_limited()])
def test_what_may_pass_is_left_to_the_search(trouble: Behaviour) -> None:
    script = Counted(trouble)
    with counting_server(script) as server:
        assert tune(models=served_models(server), diagnoser=None).held_out
    assert script.checks == 3


def test_who_does_not_answer_soon_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_checks, "_LONGEST_S", 0.05)
    begun = threading.Event()

    def script(request: LoopbackRequest) -> Behaviour:
        if is_check(request):
            assert begun.wait(60)
        begun.set()
        return Behaviour()

    with counting_server(script) as server:
        result = tune(models=served_models(server), diagnoser=None)
        assert server.requests == result.spent.calls + 3, "paid, but too late to count"
        assert server.meter.abandoned == 0, "cut off, they would cost the most"


def test_a_single_refusal_ends_nothing() -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error(403) if request.index == 0 else Behaviour()

    with counting_server(script) as server:
        assert tune(models=served_models(server), diagnoser=None).held_out
