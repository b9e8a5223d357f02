"""`sim/...` models through the gateway: the pure function, priced, and nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest

from benchmarks.worlds import MODELS, SimulatedModel, find_model, register, simulate
from pipelines.gateway.call import CallFailed, LMCall, LMReply
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers import check_models, price_of

MESSAGES = ({"role": "user", "content": "Compute 17 * 23 - 5"},)


def asked(name: str = "birch", max_tokens: int = 2048, **fields: Any) -> tuple[LMCall, LMReply]:
    model = Model(f"sim/{name}", max_tokens=max_tokens, params=fields.pop("model_params", {}))
    call = LMCall(model, MESSAGES, **fields)
    return call, Gateway(None).session("s").complete(call)


def test_a_call_is_the_pure_function() -> None:
    call, reply = asked(temperature=0.7, sample=3, max_tokens=400)
    expected = simulate(
        find_model("birch"), MESSAGES, temperature=0.7, seed=call.seed, max_tokens=400
    )
    assert (reply.text, reply.finish_reason) == (expected.text, expected.finish_reason)
    assert (reply.input_tokens, reply.output_tokens) == (
        expected.input_tokens, expected.output_tokens,
    )  # fmt: skip
    assert reply.latency_s == expected.latency_s
    usd = expected.input_tokens * 0.10e-6 + expected.output_tokens * 0.40e-6
    assert reply.usd == pytest.approx(usd)


def test_parameters_arrive() -> None:
    assert len({asked(temperature=1.5, sample=sample)[1].text for sample in range(6)}) > 1
    assert asked(max_tokens=2)[1].finish_reason == "length"
    assert "answer" not in asked(params={"stop": ["answer"]})[1].text


def test_reasoning_effort_passes_through_in_both_forms() -> None:
    efforts = {"low": -0.4, "high": 0.4}
    register(SimulatedModel("test-thinker", effort_shifts=efforts))
    tokens = []
    for effort in efforts:
        forms = (effort, {"effort": effort, "summary": "auto"})
        plain, nested = (
            asked("test-thinker", model_params={"reasoning_effort": form})[1] for form in forms
        )
        assert plain.output_tokens == nested.output_tokens
        tokens.append(plain.output_tokens)
    assert tokens[0] < tokens[1]
    with pytest.raises(CallFailed, match="one of low, high, but got 'medium'") as caught:
        asked("test-thinker", params={"reasoning_effort": "medium"})
    assert (caught.value.kind, caught.value.billed) == ("bad_request", False)
    assert asked(params={"reasoning_effort": "medium"})[1].text == asked()[1].text


def test_latency_is_slept_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    register(SimulatedModel("test-sleeper", seconds_per_1k_tokens=0.0, first_token_seconds=0.3))

    def seconds(**fields: Any) -> float:
        started = time.perf_counter()
        assert asked("test-sleeper", **fields)[1].latency_s > 0.1
        return time.perf_counter() - started

    assert seconds() < seconds(params={"sim_sleep": True})
    monkeypatch.setenv("COMPOUND_OPTIMIZER_SIM_SLEEP", "1")
    assert seconds() > 0.1


def test_models_registered_late_have_a_price() -> None:
    register(SimulatedModel("test-late", input_usd_per_million=3.0))
    assert price_of(Model("sim/test-late")).input_usd == pytest.approx(3e-6)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_call_costs_its_tokens_at_the_catalogues_price(model: SimulatedModel) -> None:
    _, reply = asked(model.name)
    usd = reply.input_tokens * model.input_usd_per_million
    usd += reply.output_tokens * model.output_usd_per_million
    assert reply.usd == pytest.approx(usd / 1e6)
    assert usd > 0


def test_an_unknown_model_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(ValueError, match="nearest: 'sim/birch'"):
        check_models([Model("sim/brich")])
    with pytest.raises(CallFailed, match="nearest: 'sim/birch'"):
        asked("brich")
